"""Normalisation layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class RMSNorm(nn.Module):
    """Root mean square norm (Zhang and Sennrich 2019), computed in float32.

    Args:
        size: d, the last dimension of the input.
        eps: added to the mean square.
    """

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        if not torch.is_grad_enabled():
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        # Spelt out, because the backward of the fused one is slower on a CPU.
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}"


class OffsetRMSNorm(RMSNorm):
    """RMS norm that multiplies by 1 + weight, in float32 (Gemma).

    A new weight is 0.
    """

    def __init__(self, size: int, eps: float) -> None:
        super().__init__(size, eps)
        nn.init.zeros_(self.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        wide, weight = x.float(), 1 + self.weight.float()
        if not torch.is_grad_enabled():
            # In bfloat16 this is not F.rms_norm of x itself, which rounds before it multiplies.
            return F.rms_norm(wide, weight.shape, weight, self.eps).to(x.dtype)
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return (wide * weight).to(x.dtype)


def layer_norm(size: int, eps: float, bias: bool = True) -> nn.LayerNorm:
    """Layer norm with a weight, and usually a bias, over the last dimension."""
    return nn.LayerNorm(size, eps=eps, bias=bias)
