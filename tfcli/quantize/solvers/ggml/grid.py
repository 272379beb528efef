"""The grid of a block type: which numbers a weight's levels stand for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tfcli.models.layouts.ggml import GGML_TYPES, GGMLType, GGMLValues, whole_steps


@dataclass
class Grid:
    """Every number of a block type but the levels; fp32, and exactly what the type stores.

    Args:
        kind: the type.
        d (Tensor): [m, blocks], float16 numbers.
        scales (Tensor): [m, groups], whole numbers.
        dmin (Tensor): [m, blocks], float16 numbers; None where the type has no least values.
        mins (Tensor): [m, groups], whole numbers; None where the type has none.
    """

    kind: GGMLType
    d: Tensor
    scales: Tensor
    dmin: Tensor | None = None
    mins: Tensor | None = None

    @property
    def steps(self) -> Tensor:
        """What one level is, [m, groups]."""
        return whole_steps(self.d, self.scales)

    @property
    def least(self) -> Tensor:
        """What is taken away from every value, [m, groups]."""
        if self.dmin is None or self.mins is None:
            return torch.zeros_like(self.scales)
        return whole_steps(self.dmin, self.mins)

    def levels(self, weight: Tensor) -> Tensor:
        """The nearest level of each weight [m, n], counted from the middle one: fp32 [m, n]."""
        groups = weight.reshape(len(weight), -1, self.kind.group)
        return nearest(groups, self.steps[..., None], self.least[..., None], self.kind).reshape(
            weight.shape
        )

    def values(self, levels: Tensor) -> Tensor:
        """The weights that levels [m, n], counted from the middle one, stand for: fp32 [m, n]."""
        groups = levels.reshape(len(levels), -1, self.kind.group)
        return (groups * self.steps[..., None] - self.least[..., None]).reshape(levels.shape)

    def store(self, levels: Tensor) -> GGMLValues:
        """The quantized weight that has these levels, [m, n], counted from the middle one."""
        return GGMLValues(
            levels=(levels + self.kind.middle).to(torch.uint8),
            scales=self.scales.to(torch.int8),
            d=self.d.half(),
            mins=None if self.mins is None else self.mins.to(torch.int8),
            dmin=None if self.dmin is None else self.dmin.half(),
            kind=self.kind.name,
        )

    def rows(self, start: int, stop: int) -> Grid:
        """That of some rows."""
        numbers = (self.d, self.scales, self.dmin, self.mins)
        return Grid(self.kind, *(None if one is None else one[start:stop] for one in numbers))  # type: ignore[arg-type]


def join(grids: list[Grid]) -> Grid:
    """The grid of the rows of several."""
    first = grids[0]
    if first.dmin is None:
        return Grid(first.kind, _cat([g.d for g in grids]), _cat([g.scales for g in grids]))
    return Grid(
        first.kind,
        _cat([g.d for g in grids]),
        _cat([g.scales for g in grids]),
        _cat([g.dmin for g in grids if g.dmin is not None]),
        _cat([g.mins for g in grids if g.mins is not None]),
    )


def _cat(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts)


def grid_of(values: GGMLValues) -> Grid:
    """The grid of a quantized weight."""
    dmin, mins = values.dmin, values.mins
    return Grid(
        GGML_TYPES[values.kind],
        values.d.float(),
        values.scales.float(),
        None if dmin is None else dmin.float(),
        None if mins is None else mins.float(),
    )


def nearest(weight: Tensor, step: Tensor, least: Tensor, kind: GGMLType) -> Tensor:
    """The nearest levels, counted from the middle one. A step of 0 has the middle level alone."""
    low, high = kind.levels
    found = (weight + least).mul_(inverse(step)).round_()
    return found.clamp_(low - kind.middle, high - kind.middle)


def inverse(numbers: Tensor) -> Tensor:
    """1 / x; 0 where that is not finite."""
    found = numbers.reciprocal()
    return found.masked_fill_(~found.isfinite(), 0)


def stored(numbers: Tensor) -> Tensor:
    """The nearest numbers that float16 holds, in fp32."""
    return numbers.clamp(-65504.0, 65504.0).half().float()
