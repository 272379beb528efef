"""Quantizes one weight into a block type of ggml."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tfcli.errors import WorkError
from tfcli.models.layouts.ggml import GGML_TYPES, GGMLValues
from tfcli.quantize.solvers.ggml.grid import Grid
from tfcli.quantize.solvers.ggml.refine import refine
from tfcli.quantize.solvers.ggml.search import search_grid
from tfcli.quantize.solvers.ggml.sweep import sweep
from tfcli.quantize.solvers.hessian import Factor

_LARGEST = 65504.0


@dataclass(frozen=True)
class Damped:
    """What calibration saw of the inputs of a linear, ready for the pass.

    Args:
        matrix (Tensor): fp32 [n, n], the Hessian with its damping: no zero on its diagonal.
        factor (Tensor): fp32 [n, n], the upper Cholesky factor of its inverse, in this order.
        order (Tensor): int64 [n], the inputs in the order to round them.
    """

    matrix: Tensor
    factor: Tensor
    order: Tensor

    @classmethod
    def of(cls, hessian: Tensor, factor: Factor) -> Damped:
        """From a Hessian, fp32 [n, n], and the factor that was made of it."""
        matrix = hessian.clone()
        matrix.diagonal().add_(factor.ridge)
        # With the positions turned round, L is the inverse of the upper factor of the inverse.
        turned = factor.lower.tril().flip(0, 1)
        one = torch.eye(len(turned), device=turned.device)
        upper = torch.linalg.solve_triangular(turned, one, upper=True)
        return cls(matrix, upper, factor.order.flip(0))


def require_room(weight: Tensor, *, name: str) -> None:
    """Refuse weights that no block type holds, as its numbers are float16.

    Args:
        weight (Tensor): [m, n] in any float type.
        name: the weight's name, for errors.

    Raises:
        WorkError: a weight beyond the largest float16, or one that is no number.
    """
    largest = weight.abs().max().item()
    if not largest <= _LARGEST:
        raise WorkError(
            f"holds weights up to {largest:.3g}, and float16, which stores scales, ends at "
            f"{_LARGEST:,.0f}",
            where=name,
            fix="check the checkpoint: it may come from a run that diverged; or name it in skip",
        )


def round_into_blocks(
    weight: Tensor, kind: str, importance: Tensor | None = None, *, name: str = ""
) -> GGMLValues:
    """Round a weight to nearest, on the grid where that costs least.

    Args:
        weight (Tensor): [m, n] in any float type, n a multiple of the type's block.
        kind: a key of `GGML_TYPES`.
        importance (Tensor): fp32 [n], the mean square of each input, as in llama.cpp's importance
            matrix; all alike when None.
        name: the weight's name, for errors.

    Raises:
        WorkError: weights that the type cannot hold.
    """
    require_room(weight, name=name)
    original = weight.float()
    grid = _grid(original, kind, importance)
    return grid.store(grid.levels(original))


def solve_into_blocks(
    weight: Tensor, kind: str, seen: Damped, *, rounds: int = 2, name: str = ""
) -> GGMLValues:
    """Quantize a weight so that its outputs on the calibration inputs change little.

    The grid comes first, from the weights and the mean squares of the inputs. GPTQ's pass rounds on
    it, and coordinate descent over levels and grid follows.

    Args:
        weight (Tensor): [m, n] in any float type, n a multiple of the type's block.
        kind: a key of `GGML_TYPES`.
        seen: of its inputs.
        rounds: of the descent.
        name: the weight's name, for errors.

    Raises:
        WorkError: weights that the type cannot hold.
    """
    require_room(weight, name=name)
    original = weight.float()
    grid = _grid(original, kind, seen.matrix.diagonal())
    levels = sweep(original, seen.factor, seen.order, grid)
    levels, grid = refine(original, levels, grid, seen.matrix, rounds=rounds)
    return grid.store(levels)


def _grid(weight: Tensor, kind: str, importance: Tensor | None) -> Grid:
    """The grid, where errors cost more in inputs that are larger and in weights that are.

    The second is llama.cpp's, sqrt(2 mean(w^2) + w^2) with the mean over a block.
    """
    block = GGML_TYPES[kind].block
    blocks = weight.view(len(weight), -1, block)
    mean = blocks.square().mean(-1, keepdim=True)
    cost = (2 * mean + blocks.square()).sqrt().view(weight.shape)
    if importance is not None:
        cost = cost * importance
    return search_grid(weight, cost, GGML_TYPES[kind])
