"""Round to nearest: each weight goes to the nearest level of its group, without any data."""

from __future__ import annotations

import torch
from torch import Tensor

from tfcli.models.kernels.rounding import nearest_levels
from tfcli.models.layouts.values import Affine, Values
from tfcli.quantize.solvers.grid import GridOptions, by_rows, find_grids


def round_to_nearest(weight: Tensor, options: GridOptions) -> Affine:
    """Quantize one weight by rounding.

    Args:
        weight (Tensor): [m, n] in any float dtype, n a multiple of the group size.
        options: the grid's options.
    """
    levels = torch.empty(weight.shape, dtype=torch.uint8, device=weight.device)

    def work(start: int, stop: int) -> tuple[Tensor, Tensor]:
        return _rows(weight[start:stop], options, levels[start:stop])

    scales, zeros = zip(*by_rows(work, weight), strict=True)
    return Affine(
        levels=levels,
        scales=torch.cat(scales),
        zeros=torch.cat(zeros),
        bits=options.bits,
        group_size=options.width(weight.shape[1]),
    )


def _rows(weight: Tensor, options: GridOptions, levels: Tensor) -> tuple[Tensor, Tensor]:
    """The scales, fp32, and zero points, uint8, of some rows, both [rows, groups]; their levels are
    written into `levels`, uint8 [rows, n]."""
    rows = weight.float()
    scales, zeros = find_grids(rows, options)
    if not nearest_levels(rows, scales, zeros, levels, options.top):
        groups = rows.reshape(*scales.shape, -1) / scales[:, :, None]
        groups.add_(zeros[:, :, None]).round_().clamp_(0, options.top)
        levels.copy_(groups.view(levels.shape))
    return scales, zeros.to(torch.uint8)


def weight_error(weight: Tensor, quantized: Values) -> float:
    """||W - Q||^2 / ||W||^2 over all weights; 0 for a weight that is all zeros."""

    def work(start: int, stop: int) -> tuple[float, float]:
        rows = weight[start:stop].float()
        size = float(torch.linalg.vector_norm(rows))
        change = quantized.rows(start, stop).view_as(rows).sub_(rows)
        return size**2, float(torch.linalg.vector_norm(change)) ** 2

    sizes, losses = zip(*by_rows(work, weight), strict=True)
    return sum(losses) / sum(sizes) if any(sizes) else 0.0
