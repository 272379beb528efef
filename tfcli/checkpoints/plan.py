"""What a conversion will do to every tensor, settled from headers before any data is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.io.header import data_bytes
from tfcli.checkpoints.target_dtypes import target_dtypes
from tfcli.checkpoints.ties import config_ties

if TYPE_CHECKING:
    from torch import Tensor

Action = Literal["converted", "copied", "tied", "made"]
_FIXED_BYTES = 256_000_000  # what a process holds beside tensors: pieces and buffers


@dataclass(frozen=True)
class Planned:
    """One tensor of the target.

    Args:
        tensor: of the view.
        dtype: the code that it is written in.
        action: `copied` bit for bit, `converted` to another type, `made` of several stored
            tensors or by a computation, or `tied`: left out because it equals its partner.
    """

    tensor: TensorEntry
    dtype: str
    action: Action

    @property
    def nbytes(self) -> int:
        """The bytes that it takes in the target."""
        return 0 if self.action == "tied" else data_bytes(self.dtype, self.tensor.shape)


@dataclass(frozen=True)
class Plan:
    """What will be written.

    Args:
        view: of the source.
        items: every tensor of the view, in order.
        config: of the target.
        apart: names that the config ties but that differ, so that they are written untied.
    """

    view: Checkpoint
    items: tuple[Planned, ...]
    config: dict[str, Any]
    apart: tuple[str, ...] = ()

    @property
    def written(self) -> list[Planned]:
        """What goes into the target."""
        return [item for item in self.items if item.action != "tied"]

    @property
    def tensors(self) -> dict[str, TensorEntry]:
        """What goes into the target by name, in its type, for containers that change it first."""
        return {
            item.tensor.name: replace(item.tensor, dtype=item.dtype, read=partial(_cast, item))
            for item in self.written
        }

    def pending(self) -> list[PendingTensor]:
        """What goes into the target, for containers that keep Hugging Face's names and shapes."""
        return [
            PendingTensor(item.tensor.name, item.dtype, item.tensor.shape, item.tensor.read, True)
            for item in self.written
        ]

    @property
    def nbytes(self) -> int:
        """Bytes of the target's tensors: the disk that is needed."""
        return sum(item.nbytes for item in self.items)

    @property
    def peak_bytes(self) -> int:
        """An upper bound of the memory that is taken."""
        largest = max((max(item.nbytes, item.tensor.nbytes) for item in self.items), default=0)
        return 2 * largest + _FIXED_BYTES


def _cast(item: Planned) -> Tensor:
    from tfcli.checkpoints.io.casting import cast
    from tfcli.checkpoints.io.dtypes import torch_dtype

    return cast(item.tensor.read(), torch_dtype(item.dtype), item.tensor.name)


def make_plan(view: Checkpoint, dtype: str | None, *, compare_ties: bool = True) -> Plan:
    """Decide for every tensor.

    Args:
        view: of the source.
        dtype: code that floating-point weights are cast to; None keeps them.
        compare_ties: read the tensors that the config ties, to see whether they are equal. Without
            it they are taken for equal.
    """
    targets = target_dtypes(view, dtype)
    ties = config_ties(view.config, view.tensors)
    tied = {n for n, o in ties.items() if not compare_ties or equal_bits(view, n, o)}
    apart = tuple(name for name in ties if name not in tied)
    config = view.config
    if apart:
        config = {**config, "tie_word_embeddings": False}
        tied &= config_ties(config, view.tensors).keys()  # no longer implied by the config
        view = _with_untied(view, config)
        targets = target_dtypes(view, dtype)
    items = tuple(
        Planned(tensor, targets[tensor.name], _action(tensor, targets, tied)) for tensor in view
    )
    return Plan(view, items, config, apart)


def _with_untied(view: Checkpoint, config: Mapping[str, Any]) -> Checkpoint:
    """The view with the tensors that it left to a tie which `config` no longer has."""
    lost = {
        name: origin
        for name, origin in config_ties(view.config).items()
        if name not in view.tensors and origin in view.tensors and name not in config_ties(config)
    }
    copies = {
        name: replace(view.tensors[origin], name=name, how=f"a copy of {origin}")
        for name, origin in lost.items()
    }
    return replace(view, tensors={**view.tensors, **copies})


def equal_bits(view: Checkpoint, name: str, other: str) -> bool:
    """Whether two tensors of a view are the same, bit for bit."""
    from tfcli.checkpoints.io.tensor_pieces import (
        same_bits,  # torch comes with it; a dry run needs none
    )

    one, two = view.tensors[name], view.tensors[other]
    if (one.dtype, one.shape) != (two.dtype, two.shape):
        return False
    return same_bits(one.values, two.values)


def _action(tensor: TensorEntry, targets: Mapping[str, str], tied: set[str]) -> Action:
    if tensor.name in tied:
        return "tied"
    if targets[tensor.name] != tensor.dtype:
        return "converted"
    return "made" if tensor.how else "copied"
