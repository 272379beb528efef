"""What residual branches of deep vision transformers go through: a learned scale, and drop path."""

from __future__ import annotations

import torch
from torch import nn


class LayerScale(nn.Module):
    """A factor for each channel (Touvron et al. 2021). size: d."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.lambda1 = nn.Parameter(torch.empty(size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> same"""
        return x * self.lambda1


class DropPath(nn.Module):
    """In training, leaves a branch out for some rows and enlarges the others (Huang et al. 2016).

    Args:
        rate: how likely a row is left out.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> same"""
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand(len(x), 1, 1, dtype=x.dtype, device=x.device) >= self.rate
        return x * kept / (1 - self.rate)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"
