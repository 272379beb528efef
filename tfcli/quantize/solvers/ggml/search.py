"""Finds the grid of a block type: the numbers that cost least as they are stored.

Each sub-block is fitted by itself first, over many ranges, as llama.cpp does (`make_qkx3_quants`,
`make_qx_quants`). What it does not do: the numbers that blocks share are chosen by the error of the
weights themselves, and each sub-block's whole numbers are then moved until none is better.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from tfcli.models.layouts.ggml import GGMLType
from tfcli.quantize.solvers.ggml.grid import Grid, inverse, join, nearest, stored

_PIECE = 1 << 16
"""Weights that are searched at a time: their temporaries stay in the processor's cache."""
_DEVICE_PIECE = 1 << 23
_ENDS = (1.1, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
"""Shares of the way to the least and to the largest weight where a range may end. Either end by
itself: where few weights cost much, those at one end may be cut off."""
_RANGES = 36
"""Ranges around zero that are tried for each sub-block."""
_SHARED = 13
"""Numbers that are tried for what a block's sub-blocks share."""
_ROUNDS = 3
"""How often whole numbers and shared numbers are fitted in turn."""


def search_grid(weight: Tensor, cost: Tensor, kind: GGMLType) -> Grid:
    """The grid on which rounding to nearest costs least.

    Args:
        weight (Tensor): fp32 [m, n], n a multiple of the type's block.
        cost (Tensor): fp32 [m, n] or [1, n], what a squared error of each weight costs; at least 0.
        kind: the type.
    """
    m, n = weight.shape
    cost = cost.expand(m, n)
    step = max(1, (_PIECE if weight.device.type == "cpu" else _DEVICE_PIECE) // n)
    return join(
        [_Search(weight[a : a + step], cost[a : a + step], kind).run() for a in range(0, m, step)]
    )


class _Search:
    """The search for a few rows.

    `x` and `cost` are [blocks, sub-blocks, inputs], `step` and `least` [blocks, sub-blocks, 1], and
    shared numbers [blocks, 1].
    """

    def __init__(self, weight: Tensor, cost: Tensor, kind: GGMLType) -> None:
        self.kind, self.m = kind, len(weight)
        shape = (-1, kind.block // kind.group, kind.group)
        self.x, self.cost = weight.reshape(shape), cost.reshape(shape)
        self.low, self.high = (level - kind.middle for level in kind.levels)

    def run(self) -> Grid:
        """The grid."""
        step, least = self._least_fit() if self.kind.mins else self._centred_fit()
        if self.kind.wide:
            scales, d = self._share(step, least, self.kind.scales, of_least=False)
            step = (d * scales)[..., None]
            mins, dmin = None, None
            if self.kind.mins:
                mins, dmin = self._share(least, step, self.kind.mins, of_least=True)
        else:
            d, dmin = stored(step[..., 0]), stored(least[..., 0])
            scales = mins = torch.ones_like(d)
        if not self.kind.mins:
            mins = dmin = None
        for _ in range(_ROUNDS):
            if self.kind.wide:
                scales, mins = self._move(d, scales, dmin, mins)
            d, dmin = self._fit_shared(d, scales, dmin, mins)

        def by_rows(numbers: Tensor | None) -> Tensor | None:
            return None if numbers is None else numbers.reshape(self.m, -1)

        return Grid(self.kind, *map(by_rows, (d, scales, dmin, mins)))  # type: ignore[arg-type]

    def _error(self, step: Tensor, least: Tensor | float) -> Tensor:
        """What rounding costs on these grids, [blocks, sub-blocks]."""
        found = (self.x + least).mul_(inverse(step)).round_().clamp_(self.low, self.high)
        found.mul_(step).sub_(least).sub_(self.x).square_().mul_(self.cost)
        return found.sum(-1)

    def _least_fit(self) -> tuple[Tensor, Tensor]:
        """The best step and least value of each sub-block, before anything is stored."""
        x, cost = self.x, self.cost
        low, high = x.amin(-1, keepdim=True).clamp_(max=0), x.amax(-1, keepdim=True)
        weight, first = cost.sum(-1, keepdim=True), (cost * x).sum(-1, keepdim=True)
        best_step, best_least = (high - low) / self.high, -low
        best = self._error(best_step, best_least)
        for below, above in product(_ENDS, _ENDS):
            step, least = (high * above - low * below) / self.high, -low * below
            for _ in range(2):
                step, least = self._line(nearest(x, step, least, self.kind), weight, first)
            error = self._error(step, least)
            better = (error < best)[..., None]
            best = torch.minimum(error, best)
            best_step = torch.where(better, step, best_step)
            best_least = torch.where(better, least, best_least)
        return best_step, best_least

    def _line(self, levels: Tensor, weight: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """The line through the weights over their levels, whose value at 0 is at most 0."""
        scaled = self.cost * levels
        one, two = scaled.sum(-1, keepdim=True), (scaled * levels).sum(-1, keepdim=True)
        cross = (scaled * self.x).sum(-1, keepdim=True)
        through_zero = cross * inverse(two)
        step = (weight * cross - first * one) * inverse(weight * two - one * one)
        least = (step * one - first) * inverse(weight)
        flat = (least < 0) | (step <= 0)
        return torch.where(flat, through_zero, step), least.masked_fill(flat, 0)

    def _centred_fit(self) -> tuple[Tensor, Tensor]:
        """The best step of each sub-block around 0; its sign says which side has a level more."""
        x = self.x
        size = x.abs().amax(-1, keepdim=True)
        best_step = torch.zeros_like(size)
        best = self._error(best_step, 0.0)
        most = -self.low
        reach = 0.9 if most > 2 else 0.6
        for number in range(-_RANGES // 2, _RANGES // 2 + 1):
            top = most + reach * 2 * number / _RANGES
            for sign in (1, -1):
                levels = (x * (sign * top * inverse(size))).round_().clamp_(self.low, self.high)
                scaled = self.cost * levels
                step = (scaled * x).sum(-1, keepdim=True) * inverse(
                    scaled.mul_(levels).sum(-1, keepdim=True)
                )
                error = self._error(step, 0.0)
                better = (error < best)[..., None]
                best = torch.minimum(error, best)
                best_step = torch.where(better, step, best_step)
        return best_step, torch.zeros_like(best_step)

    def _share(
        self, wanted: Tensor, other: Tensor, bounds: tuple[int, int], *, of_least: bool
    ) -> tuple[Tensor, Tensor]:
        """Whole numbers and the number that a block shares, whose products are near those wanted.

        Args:
            wanted: the steps, or the least values.
            other: the least values, or the steps.
            bounds: of the whole numbers.
            of_least: which of them is wanted.

        Returns:
            [blocks, sub-blocks] and [blocks, 1].
        """
        wanted = wanted[..., 0]
        size = wanted.abs().amax(-1, keepdim=True)
        best: Tensor | None = None
        signs = (1, -1) if bounds[0] < 0 else (1,)
        for sign in signs:
            most = bounds[1] if sign > 0 else -bounds[0]
            for number in range(_SHARED):
                # From what cuts a tenth off the largest to what leaves a third of the range unused.
                top = most * (1.1 - 0.4 * number / (_SHARED - 1))
                d = stored(size * sign / top)
                whole = (wanted * inverse(d)).round_().clamp_(*bounds)
                product = (d * whole)[..., None]
                pair = (other, product) if of_least else (product, other)
                error = self._error(*pair).sum(-1, keepdim=True)
                if best is None:
                    best, best_d, best_whole = error, d, whole
                    continue
                better = error < best
                best = torch.minimum(error, best)
                best_d = torch.where(better, d, best_d)
                best_whole = torch.where(better, whole, best_whole)
        return best_whole, best_d

    def _move(
        self, d: Tensor, scales: Tensor, dmin: Tensor | None, mins: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The best of each sub-block's whole numbers and their neighbours."""
        around = (-1.0, 0.0, 1.0)
        best, best_scales, best_mins = None, scales, mins
        for more in around:
            scale = (scales + more).clamp_(*self.kind.scales)
            step = (d * scale)[..., None]
            for further in around if mins is not None else (0.0,):
                least: Tensor | float = 0.0
                if mins is not None and dmin is not None and self.kind.mins is not None:
                    low = (mins + further).clamp_(*self.kind.mins)
                    least = (dmin * low)[..., None]
                error = self._error(step, least)
                if best is None:
                    best, best_scales, best_mins = error, scale, low if mins is not None else None
                    continue
                better = error < best
                best = torch.minimum(error, best)
                best_scales = torch.where(better, scale, best_scales)
                if best_mins is not None:
                    best_mins = torch.where(better, low, best_mins)
        return best_scales, best_mins

    def _fit_shared(
        self, d: Tensor, scales: Tensor, dmin: Tensor | None, mins: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The shared numbers that fit the nearest levels best, where they cost less."""
        step = (d * scales)[..., None]
        least = None if dmin is None or mins is None else (dmin * mins)[..., None]
        before = self._error(step, 0.0 if least is None else least).sum(-1, keepdim=True)
        zero = torch.zeros_like(step) if least is None else least
        one = nearest(self.x, step, zero, self.kind).mul_(scales[..., None])
        aa, ax = self._product(one, one), self._product(one, self.x)
        if mins is None or dmin is None:
            new, new_min = stored(ax * inverse(aa)), None
            after = self._error((new * scales)[..., None], 0.0).sum(-1, keepdim=True)
            return torch.where(after < before, new, d), None
        two = (-mins[..., None]).expand_as(self.x)
        ab, bb, bx = (self._product(two, other) for other in (one, two, self.x))
        new = stored((ax * bb - bx * ab) * inverse(aa * bb - ab * ab))
        new_min = stored((bx - ab * new) * inverse(bb))  # the best beside what was rounded
        after = self._error((new * scales)[..., None], (new_min * mins)[..., None])
        better = after.sum(-1, keepdim=True) < before
        return torch.where(better, new, d), torch.where(better, new_min, dmin)

    def _product(self, one: Tensor, other: Tensor) -> Tensor:
        """The weighted scalar product over a block, [blocks, 1]."""
        return (self.cost * one * other).sum((-2, -1))[:, None]
