"""Round to nearest: each weight goes to the nearest level of its group, without any data."""

from __future__ import annotations

import torch
from torch import Tensor

from tfcli.models.layouts.values import Affine, Values
from tfcli.quantize.solvers.grid import GridOptions, find_grids

_PIECE = 1 << 20
"""Weights that are in fp32 at a time: what is made of a weight is smaller than the weight is."""


def round_to_nearest(weight: Tensor, options: GridOptions) -> Affine:
    """Quantize one weight by rounding.

    Args:
        weight (Tensor): [m, n] in any float dtype, n a multiple of the group size.
        options: the grid's options.
    """
    pieces = weight.split(max(1, _PIECE // weight.shape[1]))
    levels, scales, zeros = zip(*(_rows(piece, options) for piece in pieces), strict=True)
    return Affine(
        levels=torch.cat(levels),
        scales=torch.cat(scales),
        zeros=torch.cat(zeros).to(torch.uint8),
        bits=options.bits,
        group_size=options.width(weight.shape[1]),
    )


def _rows(weight: Tensor, options: GridOptions) -> tuple[Tensor, Tensor, Tensor]:
    """The levels of some rows, uint8, with their scales and zero points, fp32 [rows, groups]."""
    rows = weight.float()
    scales, zeros = find_grids(rows, options)
    groups = rows.reshape(*scales.shape, -1)
    levels = (groups / scales[:, :, None] + zeros[:, :, None]).round_().clamp_(0, options.top)
    return levels.reshape(rows.shape).to(torch.uint8), scales, zeros


def weight_error(weight: Tensor, quantized: Values) -> float:
    """||W - Q||^2 / ||W||^2 over all weights; 0 for a weight that is all zeros."""
    size, lost = (torch.zeros((), dtype=torch.float64, device=weight.device) for _ in range(2))
    step = max(1, _PIECE // weight.shape[1])
    for start in range(0, len(weight), step):
        part = weight[start : start + step].float()
        size += part.square().sum(dtype=torch.float64)
        change = quantized.rows(start, start + len(part)).view_as(part).sub_(part)
        lost += change.square_().sum(dtype=torch.float64)
    return float(lost / size) if size else 0.0
