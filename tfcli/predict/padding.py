"""Samples side by side in one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def side_by_side(
    rows: Sequence[Mapping[str, Tensor]], fill: Mapping[str, int], side: str
) -> dict[str, Tensor]:
    """A batch of samples' inputs.

    Args:
        rows: name -> tensor; all have the same names.
        fill: name -> what shorter ones are filled up with along their last dimension; tensors of
            other names must be of one shape.
        side: `left` or `right`, where they are filled up.

    Returns:
        name -> [b, ...]
    """
    return {
        name: torch.stack(_filled([row[name] for row in rows], fill.get(name), side))
        for name in rows[0]
    }


def _filled(tensors: list[Tensor], value: int | None, side: str) -> list[Tensor]:
    if value is None:
        return tensors
    longest = max(tensor.shape[-1] for tensor in tensors)
    missing = [longest - tensor.shape[-1] for tensor in tensors]
    pads = [(rest, 0) if side == "left" else (0, rest) for rest in missing]
    return [F.pad(each, pad, value=value) for each, pad in zip(tensors, pads, strict=True)]


def alike(rows: Sequence[Mapping[str, Tensor]], fill: Mapping[str, int]) -> bool:
    """Whether samples can go into one batch."""
    return len({_kind(row, fill) for row in rows}) == 1


def _kind(row: Mapping[str, Tensor], fill: Mapping[str, int]) -> tuple[object, ...]:
    """What must be the same of two samples in one batch."""
    return tuple(
        (name, tensor.shape[:-1] if name in fill else tensor.shape) for name, tensor in row.items()
    )
