"""Rows of ggml's block types as levels with scales, which other layouts store too.

A sub-block's step is `d * scale` and its least value `dmin * min`: products that fp32 has exactly,
and fp16 only in the older types, where both whole numbers are 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tfcli.models.layouts.ggml import GGML_TYPES, GGMLValues, whole_steps
from tfcli.models.layouts.gguf import GGMLPacking
from tfcli.models.layouts.offset import Offset
from tfcli.models.layouts.values import Affine, AffineFormat


@dataclass(frozen=True)
class GGMLLevels(GGMLPacking):
    """The same rows; what they hold is levels."""

    @property
    def format(self) -> AffineFormat:  # type: ignore[override]
        """What it stores, but for the whole numbers of sub-blocks."""
        kind = GGML_TYPES[self.kind]
        return AffineFormat(kind.bits, kind.group, symmetric=kind.mins is None)

    def unpack(self, parts: Mapping[str, Tensor]) -> Affine | Offset:  # type: ignore[override]
        """The levels of the rows."""
        return levels_of(super().unpack(parts))


def levels_of(values: GGMLValues) -> Affine | Offset:
    """The same weight as levels with scales, and with zero points or, where those are no whole
    steps, with offsets: of every type fp32 has the numbers exactly."""
    kind = values.type
    steps = whole_steps(values.d, values.scales) if kind.wide else values.d
    if values.mins is None or values.dmin is None:
        zeros = torch.full_like(steps, kind.middle, dtype=torch.uint8)
        return Affine(values.levels, steps, zeros, kind.bits, kind.group)
    offsets = -whole_steps(values.dmin, values.mins) if kind.wide else -values.dmin
    found = Offset(values.levels, steps, offsets, kind.bits, kind.group)
    return found.affine() or found
