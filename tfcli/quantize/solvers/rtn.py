"""Round to nearest: each weight goes to the nearest level of its group, without any data."""

from __future__ import annotations

import torch
from torch import Tensor

from tfcli.models.layouts.values import Affine, Values
from tfcli.quantize.solvers.grid import GridOptions, find_grids


def round_to_nearest(weight: Tensor, options: GridOptions) -> Affine:
    """Quantize one weight by rounding.

    Args:
        weight (Tensor): [m, n] in any float dtype, n a multiple of the group size.
        options: the grid's options.
    """
    original = weight.float()
    scales, zeros = find_grids(original, options)
    groups = original.reshape(*scales.shape, -1)
    levels = (groups / scales[:, :, None] + zeros[:, :, None]).round_().clamp_(0, options.top)
    return Affine(
        levels=levels.reshape(original.shape).to(torch.uint8),
        scales=scales,
        zeros=zeros.to(torch.uint8),
        bits=options.bits,
        group_size=options.width(original.shape[1]),
    )


def weight_error(weight: Tensor, quantized: Values) -> float:
    """||W - Q||^2 / ||W||^2 over all weights; 0 for a weight that is all zeros."""
    weight = weight.float()
    size = weight.square().sum().item()
    return (weight - quantized.dequantize()).square().sum().item() / size if size else 0.0
