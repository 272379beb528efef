"""GPTQ: round one input's weights at a time and let the inputs to come make up for the error.

Frantar et al. 2022, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers", arXiv 2210.17323, Algorithm 1. Around it stand, each by itself an option: scales that
are searched for before it, an order of the inputs, a target that makes up for the drift of the
inputs (`drift.py`), and a refinement of its result (`refine.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tfcli.models.layouts.values import Affine
from tfcli.quantize.solvers.drift import drift_target
from tfcli.quantize.solvers.grid import GridOptions, find_grids
from tfcli.quantize.solvers.hessian import Factor, Order, Statistics, energy
from tfcli.quantize.solvers.refine import Refinement

BLOCK = 128
"""Columns that are quantized between two looks at all the columns before (the paper's size)."""

_INNER = 32
"""Columns between two updates of a block."""


@dataclass(frozen=True)
class GPTQOptions:
    """What GPTQ adds to the grid's options.

    Args:
        damping: the fraction of the Hessian's mean diagonal, over the inputs that were ever active,
            that is added to its diagonal.
        order: in which inputs are quantized, see `hessian.positions`. Groups stay groups of
            neighbours, with scales that are found before ("static groups"), so the layout does not
            change.
        drift: the share of the way to the weight that makes up for the drift of the inputs; None
            for the best one on tokens that are held out.
        refine: rounds of coordinate descent on scales and levels.
    """

    damping: float = 0.01
    order: Order = "group"
    drift: float | None = None
    refine: int = 2


@dataclass(frozen=True)
class GPTQResult:
    """A quantized weight and how it went.

    Args:
        weight: the quantized weight.
        error: ||TX - QX||^2 / ||WX||^2 over the calibration inputs, T being the weight that was
            aimed at: W itself without drift.
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
    factor = statistics.factor(options.order, width, options.damping, name=name)
    target, share = drift_target(original, statistics, factor, options.drift, name=name)
    scales, zeros = find_grids(target, grid, hessian.diagonal() + factor.ridge)
    scales, zeros = scales.t().contiguous(), zeros.t().contiguous()
    columns = target.t().contiguous()
    levels = sweep(columns, factor, scales, zeros, grid.top)
    if options.refine:
        refinement = Refinement(columns, levels, scales, zeros, hessian, factor.ridge, grid.top)
        refinement.run(options.refine)
    result = Affine(
        levels=levels.to(torch.uint8).t().contiguous(),
        scales=scales.t().contiguous(),
        zeros=zeros.t().to(torch.uint8).contiguous(),
        bits=grid.bits,
        group_size=width,
    )
    return GPTQResult(
        weight=result,
        error=output_error(original, target - result.dequantize(), hessian),
        damping=factor.damping,
        dead=int((hessian.diagonal() == 0).sum()),
        drift=share,
    )


def output_error(weight: Tensor, change: Tensor, matrix: Tensor) -> float:
    """||CX||^2 / ||WX||^2 of a change C, from the Hessian of X instead of X itself."""
    size = energy(weight, matrix)
    return max(0.0, energy(change, matrix)) / size if size > 0 else 0.0


def sweep(weight: Tensor, factor: Factor, scales: Tensor, zeros: Tensor, top: int) -> Tensor:
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

    Returns:
        fp32 [n, m], whole numbers in 0 .. top.
    """
    lower, order = factor.lower, factor.order
    width = len(weight) // len(scales)
    errors = torch.empty_like(weight)  # by position
    levels = torch.empty_like(weight)  # by input
    each_scale, each_zero = scales.unbind(), zeros.unbind()
    for stop in range(len(weight), 0, -BLOCK):
        start = max(0, stop - BLOCK)
        inputs = order[start:stop]
        numbers = (inputs // width).tolist()
        block = weight[inputs]
        diagonal = lower.diagonal()[start:stop, None]
        # What a level takes away from: (w + zero * scale) - level * scale is w's error.
        raised = torch.addcmul(block, zeros[inputs // width], scales[inputs // width])
        block.addcdiv_(lower[stop:, start:stop].t() @ errors[stop:], diagonal)
        near = lower[start:stop, start:stop].t() / diagonal
        found, error = torch.empty_like(block), errors[start:stop]
        rows = list(zip(block, found, raised, error, numbers, strict=True))
        for last in range(stop - start, 0, -_INNER):
            first = max(0, last - _INNER)
            block[first:last].addmm_(near[first:last, last:], error[last:])
            for column in range(last - 1, first - 1, -1):
                value, level, base, left, group = rows[column]
                later = slice(column + 1, last)
                value.addmv_(error[later].t(), near[column, later])
                torch.addcdiv(each_zero[group], value, each_scale[group], out=level)
                level.round_().clamp_(0, top)
                torch.addcmul(base, level, each_scale[group], value=-1, out=left)
        levels[inputs] = found
    return levels
