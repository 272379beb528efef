"""GPTQ's pass over a weight whose grid is fixed.

Frantar et al. 2022, arXiv 2210.17323, Algorithm 1. The grid is known before the pass, so the order
of the inputs is free, and that of falling activations is the best for any type.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tfcli.quantize.solvers.ggml.grid import Grid, inverse

_LAZY = 128
"""Columns between two updates of all the columns to come (the paper's block size)."""


def sweep(weight: Tensor, factor: Tensor, order: Tensor, grid: Grid) -> Tensor:
    """Round one input's weights after the other; those to come make up for the error.

    Args:
        weight (Tensor): fp32 [m, n].
        factor (Tensor): fp32 [n, n], the upper Cholesky factor of the inverse Hessian, whose inputs
            are in the order to round them.
        order (Tensor): int64 [n], this order.
        grid: of the weight, in its own order.

    Returns:
        The levels, counted from the middle one: fp32 [m, n].
    """
    low, high = (level - grid.kind.middle for level in grid.kind.levels)
    group = order // grid.kind.group
    steps, least = grid.steps.t().contiguous(), grid.least.t().contiguous()  # rows are columns
    over = inverse(steps)
    rest = weight.t()[order].contiguous()
    levels = torch.empty_like(rest)
    for start in range(0, len(order), _LAZY):
        stop = min(start + _LAZY, len(order))
        block = rest[start:stop]
        errors = torch.empty_like(block)
        for column in range(start, stop):
            here, of = column - start, group[column]
            value = block[here]
            level = ((value + least[of]) * over[of]).round_().clamp_(low, high)
            levels[column] = level
            error = (value - (level * steps[of] - least[of])) / factor[column, column]
            block[here:].addr_(factor[column, column:stop], error, alpha=-1)
            errors[here] = error
        rest[stop:].addmm_(factor[start:stop, stop:].t(), errors, alpha=-1)
    found = torch.empty_like(levels)
    found[order] = levels
    return found.t().contiguous()
