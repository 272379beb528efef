"""A convolution whose kernel is stored as lengths and directions (Salimans and Kingma 2016)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class WeightNorm(nn.Module):
    """A kernel as a length for each of its places and a direction.

    Names are those of torch's parametrization.

    Args:
        shape: [out, in, kernel]
    """

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.original0 = nn.Parameter(torch.empty(1, 1, shape[-1]))
        self.original1 = nn.Parameter(torch.empty(shape))

    def forward(self) -> torch.Tensor:
        """The kernel."""
        return torch._weight_norm(self.original1, self.original0, 2)


class NormedConv(nn.Module):
    """A grouped convolution that keeps the length, with `WeightNorm`.

    Args:
        size: d.
        kernel: places.
        groups: of channels.
    """

    def __init__(self, size: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(size))
        self.parametrizations = nn.ModuleDict({"weight": WeightNorm(size, size // groups, kernel)})
        self.kernel, self.groups = kernel, groups

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, d, s] -> [b, d, s]"""
        weight = self.parametrizations["weight"]()
        out = F.conv1d(x, weight, self.bias, padding=self.kernel // 2, groups=self.groups)
        return out[..., : x.shape[-1]]  # with an even kernel there is one place more
