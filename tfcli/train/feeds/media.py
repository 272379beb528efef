"""Examples with pictures or recordings: what is read when a batch is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from tfcli.data.media import Medium
from tfcli.errors import WorkError
from tfcli.processors.images.read import read_image
from tfcli.train.batch import Example


class MediaExample(dict[str, Tensor]):
    """An example whose media become tensors beside those of the others of its batch.

    Args:
        tensors: of the example.
        media: in their order.
        where: the row that they are of, for errors.
    """

    def __init__(self, tensors: Example, media: Sequence[Medium], where: str) -> None:
        super().__init__(tensors)
        self.media, self.where = media, where


def media_of(examples: Sequence[Example]) -> dict[str, list[Any]]:
    """Kind -> the media of some examples, one after the other, images read.

    Raises:
        WorkError: one that cannot be read; names its row.
    """
    found: dict[str, list[Any]] = {}
    for example in examples:
        if isinstance(example, MediaExample):
            for medium in example.media:
                found.setdefault(medium.kind, []).append(opened(medium, example.where))
    return found


def opened(medium: Medium, where: str) -> Any:
    """An image as Pillow has it; what else there is, as it is given.

    Raises:
        WorkError: it cannot be read; names the row.
    """
    if medium.kind != "image":
        return medium.source
    try:
        return read_image(medium.source)
    except WorkError as error:
        raise of_row(error, where) from error


def of_row(error: WorkError, where: str) -> WorkError:
    """An error about a medium as one about its row."""
    place = "" if error.where is None else f": {error.where[:200]}"
    return WorkError(error.what, where=f"{where}{place}", fix=error.fix)
