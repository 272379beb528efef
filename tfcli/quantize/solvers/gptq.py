"""GPTQ: round one input's weights at a time and let the inputs to come make up for the error.

Frantar et al. 2022, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers", arXiv 2210.17323, Algorithm 1, with its Cholesky form and lazy block updates.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from tfcli.errors import WorkError
from tfcli.models.layouts.values import Affine, runs
from tfcli.quantize.solvers.grid import Grid, GridOptions, find_grid

LAZY_COLUMNS = 128
"""Columns between two updates of all the columns to come (the paper's block size)."""

MOST_DAMPING = 10.0
"""Where raising the damping stops: a Hessian that needs more than this is broken."""


@dataclass
class Hessian:
    """The running mean of 2 x x^T over the inputs of a linear: fp32 [n, n] (the paper's H).

    Linears that share their inputs share this, and with it the factorization.
    """

    matrix: Tensor
    count: int = 0
    _prepared: dict[GPTQOptions, Prepared] = field(default_factory=dict, repr=False)

    @classmethod
    def empty(cls, in_features: int, device: torch.device | str = "cpu") -> Hessian:
        """A Hessian that has seen nothing."""
        return cls(torch.zeros(in_features, in_features, dtype=torch.float32, device=device))

    def add(self, inputs: Tensor) -> None:
        """Take in a batch of inputs, [..., n]."""
        rows = inputs.reshape(-1, inputs.shape[-1]).float()
        seen = self.count + rows.shape[0]
        self.matrix.addmm_(rows.t(), rows, beta=self.count / seen, alpha=2 / seen)
        self.count = seen
        self._prepared.clear()

    def prepare(self, options: GPTQOptions, *, name: str = "") -> Prepared:
        """The order to quantize inputs in, and the factor for that order.

        Raises:
            WorkError: the matrix is not finite, or has no factor; names `name`.
        """
        if options not in self._prepared:
            if not torch.isfinite(self.matrix).all():
                raise WorkError(
                    "the calibration inputs are not finite",
                    where=name,
                    fix="check the checkpoint for NaN or infinite weights",
                )
            order = torch.arange(len(self.matrix), device=self.matrix.device)
            if options.act_order:
                order = torch.argsort(self.matrix.diagonal(), descending=True, stable=True)
            matrix = self.matrix[order][:, order]
            self._prepared[options] = Prepared(
                order, *inverse_factor(matrix, options.damping, name=name)
            )
        return self._prepared[options]


@dataclass(frozen=True)
class Prepared:
    """A factorized Hessian.

    Args:
        order (Tensor): int64 [n], the inputs in the order to quantize them.
        factor (Tensor): fp32 [n, n], see `inverse_factor`, in that order.
        damping: the damping that was used.
    """

    order: Tensor
    factor: Tensor
    damping: float


@dataclass(frozen=True)
class GPTQOptions:
    """What GPTQ adds to the grid's options.

    Args:
        damping: the fraction of the Hessian's mean diagonal, over the inputs that were ever active,
            that is added to its diagonal.
        act_order: quantize inputs in the order of falling activation size, so that those which
            matter most are rounded first. Groups stay groups of neighbours, with the scales of the
            original weights ("static groups"), so the layout does not change.
    """

    damping: float = 0.01
    act_order: bool = True


@dataclass(frozen=True)
class GPTQResult:
    """A quantized weight and how it went.

    Args:
        weight: the quantized weight.
        error: ||WX - QX||^2 / ||WX||^2 over the calibration inputs.
        damping: the damping that was used; more than asked when the Cholesky factor failed.
        dead: inputs that were zero in all of the calibration data.
    """

    weight: Affine
    error: float
    damping: float
    dead: int


def gptq(
    weight: Tensor, hessian: Hessian, grid: GridOptions, options: GPTQOptions, *, name: str = ""
) -> GPTQResult:
    """Quantize one weight so that its outputs on the calibration inputs change little.

    Args:
        weight (Tensor): [m, n] in any float dtype, n a multiple of the group size.
        hessian: of the inputs of this weight.
        grid: the grid's options.
        options: GPTQ's own.
        name: the weight's name, for errors.

    Raises:
        WorkError: the Hessian is not finite, or has no Cholesky factor at any sensible damping.
    """
    original = weight.float()
    columns, width = original.shape[1], grid.width(original.shape[1])
    prepared = hessian.prepare(options, name=name)
    importance, order = hessian.matrix.diagonal(), prepared.order
    index = runs(columns, grid.group_size).to(weight.device)
    grids: list[Grid] | None = None
    if options.act_order:
        grids = [
            find_grid(original[:, start : start + width], grid, importance[start : start + width])
            for start in range(0, columns, width)
        ]
    levels, grids = _sweep(
        original[:, order], prepared.factor, grid, importance[order], index[order], grids
    )
    result = Affine(
        levels=levels[:, torch.argsort(order)],
        scales=torch.cat([group.scale for group in grids], dim=1),
        zeros=torch.cat([group.zero for group in grids], dim=1).to(torch.uint8),
        bits=grid.bits,
        group_size=width,
    )
    return GPTQResult(
        weight=result,
        error=output_error(original, result.dequantize(), hessian.matrix),
        damping=prepared.damping,
        dead=int((importance == 0).sum()),
    )


def inverse_factor(matrix: Tensor, damping: float, *, name: str = "") -> tuple[Tensor, float]:
    """The upper Cholesky factor of the inverse of a damped Hessian, fp32 [n, n].

    The damping is raised tenfold until both factorizations succeed.

    Returns:
        The factor and the damping that was used.

    Raises:
        WorkError: no damping up to 10 helped.
    """
    matrix = matrix.clone()
    diagonal = matrix.diagonal()
    # An input that was never active has no say. Any number on the diagonal makes it independent of
    # the others, so that it is rounded to nearest; and it must not count in the mean, which the
    # damping of the others is measured by.
    live = diagonal > 0
    mean = diagonal[live].mean().item() if live.any() else 1.0
    diagonal[~live] = mean
    added = 0.0
    while True:
        diagonal += (damping - added) * mean
        added = damping
        lower, failed = torch.linalg.cholesky_ex(matrix)
        if not failed.item():
            inverse = torch.cholesky_inverse(lower)
            factor, failed = torch.linalg.cholesky_ex(inverse, upper=True)
            if not failed.item() and torch.isfinite(factor).all():
                return factor, damping
        damping = max(10 * damping, 1e-3)
        if damping > MOST_DAMPING:
            raise WorkError(
                "the calibration statistics have no Cholesky factor, whatever the damping",
                where=name,
                fix="use more or other calibration text",
            )


def output_error(weight: Tensor, quantized: Tensor, matrix: Tensor) -> float:
    """||WX - QX||^2 / ||WX||^2, from the Hessian of X instead of X itself."""
    change = weight - quantized
    size = ((weight @ matrix) * weight).sum().item()
    return max(0.0, ((change @ matrix) * change).sum().item()) / size if size else 0.0


def _sweep(
    weight: Tensor,
    factor: Tensor,
    options: GridOptions,
    importance: Tensor,
    index: Tensor,
    grids: list[Grid] | None,
) -> tuple[Tensor, list[Grid]]:
    """Quantize the columns from left to right.

    Args:
        weight (Tensor): fp32 [m, n], columns in the order to quantize them.
        factor (Tensor): from `inverse_factor`, of the same order.
        options: the grid's options.
        importance (Tensor): fp32 [n], the Hessian's diagonal.
        index (Tensor): int32 [n], the group of each column.
        grids: the grid of each group, or None to find each from the updated weights when the sweep
            reaches the group (then the columns are in their natural order).

    Returns:
        Levels, uint8 [m, n], and the grids.
    """
    weight = weight.clone()
    columns = weight.shape[1]
    levels = torch.empty(weight.shape, dtype=torch.uint8, device=weight.device)
    width, found = options.width(columns), grids is None
    grids = grids or []
    step = _lazy_columns(width, columns)
    for start in range(0, columns, step):
        stop = min(start + step, columns)
        block = weight[:, start:stop]
        errors = torch.empty_like(block)
        for column in range(start, stop):
            if found and column % width == 0:
                group = slice(column, column + width)
                grids.append(find_grid(weight[:, group], options, importance[group]))
            grid = grids[int(index[column])]
            here = column - start
            value = block[:, here : here + 1]
            level = grid.levels(value)
            levels[:, column] = level[:, 0].to(torch.uint8)
            error = (value - grid.values(level)) / factor[column, column]
            block[:, here:] -= error @ factor[column : column + 1, column:stop]
            errors[:, here] = error[:, 0]
        weight[:, stop:] -= errors @ factor[start:stop, stop:]
    return levels, grids


def _lazy_columns(width: int, columns: int) -> int:
    """Columns of a lazy block: no group may begin inside one block and end in a later one.

    A group's grid is found from its updated weights, so every column of the group must be up to
    date when the sweep reaches its first one.
    """
    if width < LAZY_COLUMNS:
        return width * (LAZY_COLUMNS // width)
    return LAZY_COLUMNS if width % LAZY_COLUMNS == 0 or width == columns else width
