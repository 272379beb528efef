"""A model of our own from any view, for what must run it: exports and the comparison of logits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfcli.checkpoints.checkpoint import View
from tfcli.errors import ModelError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tfcli.models.model import Model


@dataclass(frozen=True)
class ViewTensors(Mapping[str, "Tensor"]):
    """The tensors of a view by name; each is made when it is asked for.

    Args:
        view: where they come from.
    """

    view: View

    def __getitem__(self, name: str) -> Tensor:
        return self.view.tensors[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self.view.tensors)

    def __len__(self) -> int:
        return len(self.view.tensors)

    def __contains__(self, name: object) -> bool:
        # Mapping's own test would read the tensor.
        return name in self.view.tensors


def load_view(
    view: View,
    *,
    task: str | None = None,
    dtype: torch.dtype | None = None,
    attention: str = "sdpa",
) -> Model:
    """Build the model that a view describes and fill it, in eval mode.

    Args:
        view: of any container.
        task: the head; None takes the one that the config names.
        dtype: of the parameters; None keeps the view's.
        attention: name of the attention backend.

    Raises:
        ModelError: a family or setting that is not supported, or tensors that do not belong to
            the config; names the checkpoint.
    """
    from tfcli.models.loading import build, load_weights
    from tfcli.models.registry import read_config

    try:
        model = build(read_config(view.config), task, attention=attention)
        load_weights(model, ViewTensors(view), dtype=dtype)
    except ModelError as error:
        where = f"{view.path}: {error.where}" if error.where else str(view.path)
        raise ModelError(error.what, where=where, fix=error.fix) from error
    return model.eval()
