"""Coordinate descent on everything that a block type stores: never a step that costs more.

The objective is tr((Q - W) H (Q - W)'), with H over all the inputs of the linear. It is quadratic
in each level, each whole number of a sub-block and each float16 number of a block, so the best
value of one beside all others is known, and B = (Q - W) H follows each change.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tfcli.quantize.solvers.ggml.grid import Grid, inverse, stored

_CHUNK = 256
"""Inputs between two updates of B for all the others: whole blocks of every type."""


def objective(weight: Tensor, quantized: Tensor, matrix: Tensor) -> float:
    """tr((Q - W) H (Q - W)')."""
    change = quantized - weight
    return ((change @ matrix) * change).sum().item()


def refine(
    weight: Tensor, levels: Tensor, grid: Grid, matrix: Tensor, *, rounds: int = 2
) -> tuple[Tensor, Grid]:
    """Lower the objective.

    Args:
        weight (Tensor): fp32 [m, n].
        levels (Tensor): fp32 [m, n], counted from the middle one.
        grid: that they are on.
        matrix (Tensor): fp32 [n, n], H with its damping: no zero on its diagonal.
        rounds: over all inputs.

    Returns:
        Levels and grid.
    """
    levels, columns = levels.clone(), weight.shape[1]
    grid = replace(grid, d=grid.d.clone(), scales=grid.scales.clone())
    if grid.dmin is not None and grid.mins is not None:
        grid = replace(grid, dmin=grid.dmin.clone(), mins=grid.mins.clone())
    for _ in range(rounds):
        # Made anew, so that the errors of sums do not pile up.
        slope = (grid.values(levels) - weight) @ matrix
        for start in range(0, columns, _CHUNK):
            stop = min(start + _CHUNK, columns)
            part = _Chunk(levels, grid, slope[:, start:stop], matrix, start, stop)
            change = part.descend()
            slope[:, stop:].addmm_(change, matrix[start:stop, stop:])
            slope[:, :start].addmm_(change, matrix[start:stop, :start])
    return levels, grid


class _Chunk:
    """Some inputs of a weight, whose numbers are changed in place; B of the others waits."""

    def __init__(
        self, levels: Tensor, grid: Grid, slope: Tensor, matrix: Tensor, start: int, stop: int
    ) -> None:
        kind = grid.kind
        self.kind, self.matrix = kind, matrix[start:stop, start:stop]
        self.levels, self.slope = levels[:, start:stop], slope
        groups = slice(start // kind.group, stop // kind.group)
        blocks = slice(start // kind.block, stop // kind.block)
        self.scales, self.d = grid.scales[:, groups], grid.d[:, blocks]
        self.mins = None if grid.mins is None else grid.mins[:, groups]
        self.dmin = None if grid.dmin is None else grid.dmin[:, blocks]
        self.many = kind.block // kind.group

    def descend(self) -> Tensor:
        """Change every number of the chunk once; gives what became of the weights, [m, width]."""
        before = self._values()
        for block in range(self.d.shape[1]):
            if self.kind.wide:
                for group in range(block * self.many, (block + 1) * self.many):
                    self._whole_numbers(group, block)
            self._shared_numbers(block)
        self._levels()
        return self._values() - before

    def _values(self) -> Tensor:
        grid = Grid(self.kind, self.d, self.scales, self.dmin, self.mins)
        return grid.values(self.levels)

    def _follow(self, change: Tensor, part: slice) -> None:
        self.slope.addmm_(change, self.matrix[part])

    def _whole_numbers(self, group: int, block: int) -> None:
        """The whole numbers of a sub-block."""
        part = slice(group * self.kind.group, (group + 1) * self.kind.group)
        matrix, slope = self.matrix[part, part], self.slope[:, part]
        d, scale = self.d[:, block], self.scales[:, group]
        one = self.levels[:, part] * d[:, None]
        reached = one @ matrix
        aa, a = (reached * one).sum(1), (slope * one).sum(1)
        if self.mins is None or self.dmin is None or self.kind.mins is None:
            found = (scale - (a * inverse(aa)).round_()).clamp_(*self.kind.scales)
            more = found - scale
            better = more * (2 * a + more * aa) < 0
            more = torch.where(better, more, 0.0)
            scale += more
            self._follow(more[:, None] * one, part)
            return
        dmin, low = self.dmin[:, block], self.mins[:, group]
        bb, b = dmin.square() * matrix.sum(), -dmin * slope.sum(1)
        ab = -dmin * reached.sum(1)
        together = ((b * ab - a * bb) * inverse(aa * bb - ab * ab)).round_()
        best, best_more, best_further = (torch.zeros_like(a) for _ in range(3))
        for wanted in (together, together + 1, together - 1, 0.0, 1.0, -1.0):
            more = (scale + wanted).clamp_(*self.kind.scales) - scale
            further = (low - ((b + ab * more) * inverse(bb)).round_()).clamp_(*self.kind.mins) - low
            cost = 2 * (a * more + b * further) + aa * more.square() + bb * further.square()
            cost += 2 * ab * more * further
            better = cost < best
            best = torch.where(better, cost, best)
            best_more = torch.where(better, more, best_more)
            best_further = torch.where(better, further, best_further)
        scale += best_more
        low += best_further
        self._follow(best_more[:, None] * one - (best_further * dmin)[:, None], part)

    def _shared_numbers(self, block: int) -> None:
        """The float16 numbers of a block."""
        part = slice(block * self.kind.block, (block + 1) * self.kind.block)
        groups = slice(block * self.many, (block + 1) * self.many)
        matrix, slope, d = self.matrix[part, part], self.slope[:, part], self.d[:, block]
        one = self._spread(self.scales[:, groups]) * self.levels[:, part]
        reached = one @ matrix
        aa, a = (reached * one).sum(1), (slope * one).sum(1)
        if self.mins is None or self.dmin is None:
            more = stored(d - a * inverse(aa)) - d
            more = torch.where(more * (2 * a + more * aa) < 0, more, 0.0)
            d += more
            self._follow(more[:, None] * one, part)
            return
        dmin = self.dmin[:, block]
        two = -self._spread(self.mins[:, groups])
        bb, b = ((two @ matrix) * two).sum(1), (slope * two).sum(1)
        ab = (reached * two).sum(1)
        more = stored(d + (b * ab - a * bb) * inverse(aa * bb - ab * ab)) - d
        further = stored(dmin - (b + ab * more) * inverse(bb)) - dmin
        cost = 2 * (a * more + b * further) + aa * more.square() + bb * further.square()
        better = cost + 2 * ab * more * further < 0
        more, further = torch.where(better, more, 0.0), torch.where(better, further, 0.0)
        d += more
        dmin += further
        self._follow(more[:, None] * one + further[:, None] * two, part)

    def _spread(self, numbers: Tensor) -> Tensor:
        """One of each sub-block -> one of each input."""
        return numbers.repeat_interleave(self.kind.group, dim=1)

    def _levels(self) -> None:
        """The level of each input, from left to right."""
        low, high = (level - self.kind.middle for level in self.kind.levels)
        steps = Grid(self.kind, self.d, self.scales).steps
        over = inverse(steps)
        slope = self.slope.t().contiguous()  # rows are inputs
        for column in range(len(slope)):
            group = column // self.kind.group
            held = self.levels[:, column]
            move = slope[column] * over[:, group] / self.matrix[column, column]
            level = (held - move).round_().clamp_(low, high)
            slope.addr_(self.matrix[column], (level - held) * steps[:, group])
            held.copy_(level)
        self.slope.copy_(slope.t())
