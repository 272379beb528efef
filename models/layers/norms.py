"""Normalisation layers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class _RMSNormFunction(torch.autograd.Function):
    """weight * x / rms(x), with a backward pass of its own.

    It keeps the input and one number a row; what autograd would keep of the steps is computed
    again. On a CPU forward and backward take 0.4 to 0.8 of the time of the steps spelt out, and of
    the fused kernel (512 x 768, float32 and bfloat16).
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, weight, scale)
        return weight * (wide * scale).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        x, weight, scale = ctx.saved_tensors
        normed = x.float() * scale
        grad_weight = None
        if ctx.needs_input_grad[1]:  # not where only an adapter is trained
            grad_weight = (grad * normed.to(x.dtype)).flatten(0, -2).sum(0).to(weight.dtype)
        inner = (grad * weight).float()
        # What lies along x itself does not change it: its length is divided out.
        along = normed * (inner * normed).mean(-1, keepdim=True)
        return ((inner - along) * scale).to(x.dtype), grad_weight, None


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """weight * x / sqrt(mean(x^2) + eps) over the last dimension, the quotient in float32."""
    if not torch.is_grad_enabled():
        return F.rms_norm(x, weight.shape, weight, eps)
    return _RMSNormFunction.apply(x, weight, eps)


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
        return rms_norm(x, self.weight, self.eps)

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
        # In bfloat16 this is not the norm of x itself, which rounds before it multiplies.
        return rms_norm(x.float(), 1 + self.weight.float(), self.eps).to(x.dtype)


class GatedRMSNorm(nn.Module):
    """RMS norm over each of several groups of channels, and silu of a gate, in float32.

    Args:
        size: d, the last dimension of the input.
        eps: added to the mean square.
        groups: of neighbouring channels; each has a mean square of its own.
        gate_first: norm x times the gate, and do not multiply what is normed by it.
    """

    def __init__(self, size: int, eps: float, *, groups: int = 1, gate_first: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps
        self.groups = groups
        self.gate_first = gate_first

    def forward(self, x: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        """x and gate (Tensor): [..., d] -> [..., d], in gate's dtype"""
        opened = F.silu(gate.float())
        wide = x.float() * opened if self.gate_first else x.float()
        wide = wide.unflatten(-1, (self.groups, -1))
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        normed = self.weight * wide.flatten(-2).to(gate.dtype)
        return normed if self.gate_first else (normed * opened).to(gate.dtype)


def layer_norm(size: int, eps: float, bias: bool = True) -> nn.LayerNorm:
    """Layer norm with a weight, and usually a bias, over the last dimension."""
    return nn.LayerNorm(size, eps=eps, bias=bias)
