"""Round to nearest: each weight goes to the nearest level of its group, without any data."""

from __future__ import annotations

import torch
from torch import Tensor

from tfcli.models.layouts.values import Affine, Values
from tfcli.quantize.solvers.grid import GridOptions, find_grid


def round_to_nearest(weight: Tensor, options: GridOptions) -> Affine:
    """Quantize one weight by rounding.

    Args:
        weight (Tensor): [m, n] in any float dtype, n a multiple of the group size.
        options: the grid's options.
    """
    rows, columns = weight.shape
    width = options.width(columns)
    grid = find_grid(weight.float().reshape(-1, width), options)
    levels = grid.levels(weight.float().reshape(-1, width))
    return Affine(
        levels=levels.reshape(rows, columns).to(torch.uint8),
        scales=grid.scale.reshape(rows, -1),
        zeros=grid.zero.reshape(rows, -1).to(torch.uint8),
        bits=options.bits,
        group_size=width,
    )


def weight_error(weight: Tensor, quantized: Values) -> float:
    """||W - Q||^2 / ||W||^2 over all weights; 0 for a weight that is all zeros."""
    weight = weight.float()
    size = weight.square().sum().item()
    return (weight - quantized.dequantize()).square().sum().item() / size if size else 0.0
