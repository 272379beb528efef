"""Examples with pictures or recordings: what is read when a batch is made of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tfcli.data.media import Medium, Opened
from tfcli.errors import WorkError
from tfcli.models.losses import IGNORED
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


def like(spare: Example, other: Example) -> Example:
    """A spare example as one of a batch of others, of which nothing is learned.

    Args:
        spare: has media.
        other: one of the batch, whose names the spare one gets.
    """
    assert isinstance(spare, MediaExample)
    nothing = {"targets": IGNORED, "segment_ids": 0}
    ids = spare["input_ids"]
    tensors = {
        name: torch.full_like(ids, nothing[name]) if name in nothing else spare[name]
        for name in other
    }
    return MediaExample(tensors, spare.media, spare.where)


def packed_media(example: Example, parts: Sequence[Example]) -> Example:
    """An example made of several, with the media of all of them."""
    held = [part for part in parts if isinstance(part, MediaExample)]
    if not held:
        return example
    media = [medium for part in held for medium in part.media]
    return MediaExample(example, media, ", ".join(part.where for part in held))


def media_of(examples: Sequence[Example]) -> list[Opened]:
    """The media of some examples, one after the other, read.

    Raises:
        WorkError: one that cannot be read; names its row.
    """
    return [
        opened(medium, example.where)
        for example in examples
        if isinstance(example, MediaExample)
        for medium in example.media
    ]


def opened(medium: Medium, where: str) -> Opened:
    """A medium, read.

    Raises:
        WorkError: it cannot be read; names the row.
    """
    try:
        return medium.opened()
    except WorkError as error:
        raise of_row(error, where) from error


def of_row(error: WorkError, where: str) -> WorkError:
    """An error about a medium as one about its row."""
    place = "" if error.where is None else f": {error.where[:200]}"
    return WorkError(error.what, where=f"{where}{place}", fix=error.fix)
