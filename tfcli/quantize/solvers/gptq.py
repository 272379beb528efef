"""GPTQ: round one input's weights at a time and let the inputs to come make up for the error.

Frantar et al. 2022, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers", arXiv 2210.17323, Algorithm 1. Around it stand, each by itself an option: scales that
are searched for before it, an order of the inputs, a target that makes up for the drift of the
inputs (`drift.py`), and a refinement of its result (`refine.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tfcli.models.kernels.rounding import round_columns
from tfcli.models.layouts.values import Affine
from tfcli.quantize.solvers.drift import best_share, drift_target
from tfcli.quantize.solvers.grid import AT_ONCE, GridOptions, find_grids
from tfcli.quantize.solvers.hessian import Factor, Order, Statistics, energy
from tfcli.quantize.solvers.refine import Refinement

BLOCK = 128
"""Columns that are quantized between two looks at all the columns before (the paper's size)."""

_INNER = 32
"""Columns between two updates of a block."""

MEASURED = 256
"""Outputs, evenly over all of them, that the error of a weight with more is measured on."""


@dataclass(frozen=True)
class GPTQOptions:
    """What GPTQ adds to the grid's options.

    Args:
        damping: the fraction of the Hessian's mean diagonal, over the inputs that were ever active,
            that is added to its diagonal.
        order: in which inputs are quantized, see `hessian.positions`. Groups stay groups of
            neighbours in any, so the layout does not change.
        static_groups: find all scales before any weight is rounded, not when the turn of a group
            comes, from what its weights should be then. The order `activation`, which mixes
            groups, needs it.
        drift: the share of the way to the weight that makes up for the drift of the inputs; None
            for the best one on tokens that are held out.
        refine: rounds of coordinate descent on scales and levels.
    """

    damping: float = 0.01
    order: Order = "group"
    static_groups: bool = False
    drift: float | None = None
    refine: int = 2

    def __post_init__(self) -> None:
        if self.order == "activation" and not self.static_groups:
            raise ValueError("the order activation needs static groups")


@dataclass(frozen=True)
class GPTQResult:
    """A quantized weight and how it went.

    Args:
        weight: the quantized weight.
        error: ||TX - QX||^2 / ||WX||^2 over the calibration inputs, T being the weight that was
            aimed at: W itself without drift. Measured on `MEASURED` outputs or more.
        damping: the damping that was used; more than asked when the Cholesky factor failed.
        dead: inputs that were zero in all of the calibration data.
        drift: the share of the way that was gone.
    """

    weight: Affine
    error: float
    damping: float
    dead: int
    drift: float = 0.0


def gptq(
    weight: Tensor,
    statistics: Statistics,
    grid: GridOptions,
    options: GPTQOptions,
    *,
    name: str = "",
) -> GPTQResult:
    """Quantize one weight so that its outputs on the calibration inputs change little.

    Args:
        weight (Tensor): [m, n] in any float dtype, n a multiple of the group size.
        statistics: of the inputs of this weight.
        grid: the grid's options.
        options: GPTQ's own.
        name: the weight's name, for errors.

    Raises:
        WorkError: the statistics are not finite, or have no Cholesky factor at any sensible
            damping.
    """
    original = weight.float()
    width = grid.width(original.shape[1])
    statistics.close(name=name)
    hessian = statistics.fit.inputs
    share = 0.0 if statistics.fit.drift is None else options.drift
    if share is None:  # before the factor of all tokens is there, which would take memory too
        share = best_share(original, statistics, options.damping, name=name)
    factor = statistics.factor(options.order, width, options.damping, name=name)
    step = max(1, len(original) // MEASURED)
    parts, lost = [], 0.0
    at_once = max(1, AT_ONCE // (original.shape[1] * step)) * step
    for rows in original.split(at_once):
        columns = drift_target(rows, statistics, factor, share).t().contiguous()
        parts.append(_solve(columns, hessian, factor, grid, options))
        change = columns[:, ::step].t() - parts[-1].dequantize()[::step]
        lost += max(0.0, energy(change, hessian))
    size = energy(original[::step], hessian)
    return GPTQResult(
        weight=Affine.stacked(parts),
        error=lost / size if size > 0 else 0.0,
        damping=factor.damping,
        dead=int((hessian.diagonal() == 0).sum()),
        drift=share,
    )


def _solve(
    columns: Tensor, hessian: Tensor, factor: Factor, grid: GridOptions, options: GPTQOptions
) -> Affine:
    """Quantize some outputs of a weight, each of which is a problem of its own.

    Args:
        columns (Tensor): fp32 [n, m], what to come close to, transposed.
        hessian (Tensor): fp32 [n, n], H.
        factor: of H~.
        grid: the grid's options.
        options: GPTQ's own.
    """
    width = grid.width(len(columns))
    importance = hessian.diagonal() + factor.ridge
    if options.static_groups:
        scales, zeros = (one.t().contiguous() for one in find_grids(columns.t(), grid, importance))
        find = None
    else:
        scales, zeros = columns.new_empty(2, len(columns) // width, columns.shape[1])

        def find(values: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
            scale, zero = find_grids(values.t(), grid, importance[inputs])
            return scale[:, 0], zero[:, 0]

    levels = sweep(columns, factor, scales, zeros, grid.top, find)
    if options.refine:
        refinement = Refinement(columns, levels, scales, zeros, hessian, factor.ridge, grid.top)
        refinement.run(options.refine)
    return Affine(
        levels=levels.to(torch.uint8).t().contiguous(),
        scales=scales.t().contiguous(),
        zeros=zeros.t().to(torch.uint8).contiguous(),
        bits=grid.bits,
        group_size=width,
    )


def sweep(
    weight: Tensor,
    factor: Factor,
    scales: Tensor,
    zeros: Tensor,
    top: int,
    find: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
) -> Tensor:
    """Quantize one column after another.

    With E = W - Q and H~ = L L', the objective is |E L|^2. Its column p has only the errors of the
    positions from p on, so from the last position to the first each is rounded so that its column
    is least: the nearest level to W_p + sum_q>p E_q L_qp / L_pp. That is the paper's update with
    the sum taken when a column is reached, which writes to no column twice.

    Args:
        weight (Tensor): fp32 [n, m], transposed: a column of the weight is a row.
        factor: of H~.
        scales (Tensor): fp32 [groups, m].
        zeros (Tensor): fp32 [groups, m], whole numbers or not.
        top: the highest level.
        find: gives scales and zeros of a group when its turn comes, fp32 [m] each, which replace
            those that are there. It gets the weights that are to be rounded then, [width, m], and
            their inputs, int64 [width]. The order must keep groups together.

    Returns:
        fp32 [n, m], whole numbers in 0 .. top.
    """
    lower, order = factor.lower, factor.order
    width = len(weight) // len(scales)
    outer, middle = max(BLOCK // width * width, width), min(width, BLOCK)
    if find is None:
        outer = middle = BLOCK
    errors = torch.empty_like(weight)  # by position
    levels = torch.empty_like(weight)  # by input

    def settle(values: Tensor, part: slice, stop: int) -> None:
        """Add to values what the errors of the positions from the end of `part` to `stop` ask."""
        if part.stop < stop:
            later = lower[part.stop : stop, part].t() @ errors[part.stop : stop]
            values.addcdiv_(later, lower.diagonal()[part, None])

    def replace(values: Tensor, originals: Tensor, part: slice) -> None:
        """Find scales and zeros of the group at `part`, for the weights that would make up for all
        errors so far if none of them were rounded: no column of E L would be left of these."""
        if find is not None:
            inputs = order[part]
            pending = (values - originals).mul_(lower.diagonal()[part, None])
            wanted = torch.linalg.solve_triangular(lower[part, part].t(), pending, upper=True)
            group = int(inputs[0]) // width
            scales[group], zeros[group] = find(wanted.add_(originals), inputs)

    for stop in range(len(weight), 0, -outer):
        start = max(0, stop - outer)
        inputs = order[start:stop]
        block = weight[inputs]
        originals = block.clone()
        settle(block, slice(start, stop), len(weight))
        if outer == width:
            replace(block, originals, slice(start, stop))
        for high in range(stop, start, -middle):
            part = slice(max(start, high - middle), high)
            here = slice(part.start - start, high - start)
            values = block[here]
            settle(values, part, stop)
            if outer != width:
                replace(values, originals[here], part)
            groups = inputs[here] // width
            near = (lower[part, part].t() / lower.diagonal()[part, None]).contiguous()
            given = (values, originals[here], near, groups, scales, zeros)
            if not round_columns(*given, inputs[here], errors[part], levels, top):
                levels[inputs[here]] = _round(*given, errors[part], top)
    return levels


def _round(
    values: Tensor,
    originals: Tensor,
    near: Tensor,
    groups: Tensor,
    scales: Tensor,
    zeros: Tensor,
    errors: Tensor,
    top: int,
) -> Tensor:
    """The levels of a block's columns, fp32 [columns, m]: what `round_columns` says, by torch."""
    scales, zeros = scales[groups], zeros[groups]
    # (w + zero * scale) - level * scale is what a level leaves of a weight.
    raised = torch.addcmul(originals, zeros, scales)
    values, levels = values.clone(), torch.empty_like(values)
    rows = list(zip(values, raised, errors, scales, zeros, levels, strict=True))
    for last in range(len(rows), 0, -_INNER):
        first = max(0, last - _INNER)
        if last < len(rows):
            values[first:last].addmm_(near[first:last, last:], errors[last:])
        for column in range(last - 1, first - 1, -1):
            value, base, error, scale, zero, level = rows[column]
            if column + 1 < last:
                later = slice(column + 1, last)
                value.addmv_(errors[later].t(), near[column, later])
            torch.addcdiv(zero, value, scale, out=level).round_().clamp_(0, top)
            torch.addcmul(base, level, scale, value=-1, out=error)
    return levels
