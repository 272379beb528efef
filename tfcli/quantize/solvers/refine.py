"""Coordinate descent on a quantized weight: scales and levels move until no move helps.

The objective is tr(E H~ E') with E = W - Q. Each of its coordinates has a closed form: a scale's is
least where the errors of its group pull no more along the levels, a level's at the nearest one to
where its own pull ends. So no move makes it worse. After the closed form for scales of Kim et al.
2026, arXiv 2602.02126.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tfcli.models.kernels.rounding import move_columns
from tfcli.quantize.solvers.grid import storable

BLOCK = 128
"""Columns whose pulls are found by one matrix product."""

_INNER = 32
"""Columns between two updates of a block."""


class Refinement:
    """A quantized weight on its way down. Tensors are transposed: a column of the weight is a row.

    Args:
        weight (Tensor): fp32 [n, m], what to come close to.
        levels (Tensor): fp32 [n, m], whole numbers in 0 .. top; changed in place.
        scales (Tensor): fp32 [groups, m]; changed in place.
        zeros (Tensor): fp32 [groups, m], whole numbers or not.
        hessian (Tensor): fp32 [n, n], H, symmetric.
        ridge (Tensor): fp32 [n], what makes H~ of H's diagonal.
        top: the highest level.
    """

    def __init__(
        self,
        weight: Tensor,
        levels: Tensor,
        scales: Tensor,
        zeros: Tensor,
        hessian: Tensor,
        ridge: Tensor,
        top: int,
    ) -> None:
        self.levels, self.scales, self.zeros, self.top = levels, scales, zeros, top
        self.hessian, self.ridge = hessian, ridge
        self.diagonal = hessian.diagonal() + ridge
        self.width = len(weight) // len(scales)
        self.errors = weight - dequantized(levels, scales, zeros)

    def run(self, rounds: int, *, scales: bool = True) -> None:
        """Move every scale, if they may, and every level, some times over."""
        span = max(BLOCK // self.width, 1) * self.width
        for _ in range(rounds):
            for start in range(0, len(self.levels), span):
                stop = min(start + span, len(self.levels))
                pulls = self.pulls(start, stop)
                if scales:
                    self.move_scales(start, stop, pulls)
                if span <= BLOCK:
                    self.move_levels(start, stop, pulls)
                    continue
                for first in range(start, stop, BLOCK):
                    last = min(first + BLOCK, stop)
                    self.move_levels(first, last, self.pulls(first, last))

    def pulls(self, start: int, stop: int) -> Tensor:
        """Rows `start` to `stop` of H~ E, fp32 [stop - start, m]."""
        part = slice(start, stop)
        found = self.hessian[part] @ self.errors
        return found.addcmul_(self.ridge[part, None], self.errors[part])

    def move_scales(self, start: int, stop: int, pulls: Tensor) -> None:
        """Move the scales of whole groups, as far as fp16 holds where they should go.

        Args:
            start: the first column.
            stop: after the last.
            pulls (Tensor): theirs, from `pulls`; kept up to date.
        """
        for first in range(start, stop, self.width):
            part = slice(first, first + self.width)
            group = first // self.width
            along = self.levels[part] - self.zeros[group]
            bent = self.hessian[part, part] @ along
            bent.addcmul_(self.ridge[part, None], along)
            slope = (along * pulls[first - start : first - start + self.width]).sum(0)
            curve = (along * bent).sum(0)
            scale = self.scales[group]
            step = torch.where(curve > 0, slope / curve, 0)
            step = storable(scale + step) - scale
            # E loses step * along, so the objective changes by step^2 curve - 2 step slope.
            step = torch.where(step * (step * curve - 2 * slope) < 0, step, 0)
            scale += step
            change = along.mul_(step)
            self.errors[part] -= change
            pulls.addmm_(self.hessian[start:stop, part], change, alpha=-1)
            pulls[first - start : first - start + self.width].addcmul_(
                self.ridge[part, None], change, value=-1
            )

    def move_levels(self, start: int, stop: int, pulls: Tensor) -> None:
        """Move the levels of some columns, one column after another.

        Args:
            start: the first column.
            stop: after the last.
            pulls (Tensor): theirs, from `pulls`; used up.
        """
        part, first_group = slice(start, stop), start // self.width
        near = self.hessian[part, part].contiguous()
        groups = torch.arange(start, stop, device=near.device) // self.width
        diagonal, at = self.diagonal[part], (self.errors[part], self.levels[part])
        if move_columns(pulls, near, diagonal, groups, self.scales, *at, self.top):
            return
        count = stop - start
        levels, moved = torch.empty_like(pulls), torch.empty_like(pulls)
        scales = self.scales[first_group : (stop - 1) // self.width + 1]
        diagonals = diagonal.tolist()
        inverses = scales.reciprocal()
        columns = zip(self.levels[start:stop], pulls, levels, moved, strict=True)
        for column, (old, pull, new, move) in enumerate(columns):
            first = column - column % _INNER
            if column == first:
                last = min(first + _INNER, count)
                pulls[first:last].addmm_(near[first:last, :first], moved[:first], alpha=-1)
                local = near[first:last, first:last].contiguous()
            else:
                pull.addmv_(
                    moved[first:column].t(), local[column - first, : column - first], alpha=-1
                )
            group = (start + column) // self.width - first_group
            torch.addcmul(old, pull, inverses[group], value=1 / diagonals[column], out=new)
            new.round_().clamp_(0, self.top)
            torch.sub(new, old, out=move).mul_(scales[group])
        self.levels[start:stop] = levels
        self.errors[start:stop] -= moved


def dequantized(levels: Tensor, scales: Tensor, zeros: Tensor) -> Tensor:
    """The weight that levels stand for, transposed: fp32 [n, m]."""
    groups = levels.view(len(scales), -1, levels.shape[1])
    return ((groups - zeros[:, None]) * scales[:, None]).view_as(levels)
