"""Positions as sines and cosines of growing wavelengths (Vaswani et al. 2017), in two layouts."""

from __future__ import annotations

import math

import torch
from torch import nn


class SinusoidalPositions(nn.Module):
    """A computed table of positions. Checkpoints may hold it, but need not.

    Args:
        positions: rows of the table.
        size: d.
        stored: whether checkpoints that are written hold it.
    """

    def __init__(self, positions: int, size: int, *, stored: bool = True) -> None:
        super().__init__()
        self.weight: torch.Tensor
        self.register_buffer("weight", torch.empty(positions, size), persistent=stored)

    def table(self) -> torch.Tensor:
        """The values of `weight`, float32 on the CPU."""
        return sines(self.weight.shape[0], self.weight.shape[1])

    def forward(self, position_ids: torch.Tensor) -> torch.Tensor:
        """position_ids (Tensor): [b or 1, s] -> [b or 1, s, d]"""
        return self.weight[position_ids]


def sines(positions: int, size: int) -> torch.Tensor:
    """All sines, then all cosines; the wavelengths grow from 2 pi to 2 pi * 10000 (Marian).

    Returns:
        float32 [positions, size]
    """
    at = torch.arange(positions, dtype=torch.float64, device="cpu")[:, None]
    exponents = torch.arange(0, size, 2, dtype=torch.float64, device="cpu") / size
    angles = at / 10000**exponents
    # With an odd size there is one sine more than there are cosines.
    return torch.cat((angles.sin(), angles.cos()[:, : size // 2]), -1).float()


def fairseq_sines(positions: int, size: int, padding: int | None = None) -> torch.Tensor:
    """The same with the last wavelength exactly 10000 times the first (tensor2tensor, fairseq).

    Args:
        positions: rows.
        size: d, at least 4; with an odd one the last column is 0.
        padding: the row for padding, which is 0; None where there is none.

    Returns:
        float32 [positions, size]
    """
    half = size // 2
    # In float32 throughout, as there: 1000 turns of a sine make the last bits show.
    step = -math.log(10000) / (half - 1)
    rates = torch.exp(torch.arange(half, dtype=torch.float32, device="cpu") * step)
    angles = torch.arange(positions, dtype=torch.float32, device="cpu")[:, None] * rates
    table = torch.zeros(positions, size, device="cpu")
    table[:, :half], table[:, half : 2 * half] = angles.sin(), angles.cos()
    if padding is not None:
        table[padding] = 0
    return table
