"""Normalisation layers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _RMSNormFunction(torch.autograd.Function):
    """`_scaled`, with a backward pass of its own.

    It keeps the input and one number a row; what autograd would keep of the steps is computed
    again. On a CPU forward and backward take 0.4 to 0.8 of the time of the steps spelt out, and of
    the fused kernel (512 x 768, float32 and bfloat16).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, eps: float, inner: torch.dtype, outer: torch.dtype
    ) -> Tensor:
        out, scale = _scaled(x, weight, eps, inner, outer)
        ctx.save_for_backward(x, weight, scale)
        ctx.inner = inner
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        normed = x.float() * scale
        grad = grad.to(torch.promote_types(grad.dtype, ctx.inner))
        grad_weight = None
        if ctx.needs_input_grad[1]:  # not where only an adapter is trained
            grad_weight = (grad * normed.to(ctx.inner)).flatten(0, -2).sum(0).to(weight.dtype)
        along_weight = (grad * weight).float()
        # What lies along x itself does not change it: its length is divided out.
        along = normed * (along_weight * normed).mean(-1, keepdim=True)
        return ((along_weight - along) * scale).to(x.dtype), grad_weight, None, None, None


def _scaled(
    x: Tensor, weight: Tensor, eps: float, inner: torch.dtype, outer: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The norm of x, and what each row was multiplied by, [..., 1]."""
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (weight * (wide * scale).to(inner)).to(outer), scale


def rms_norm(
    x: Tensor, weight: Tensor, eps: float, inner: torch.dtype, outer: torch.dtype
) -> Tensor:
    """weight * x / sqrt(mean(x^2) + eps) over the last dimension; the quotient is in float32.

    It rounds alike with gradients and without. On CUDA torch's fused kernel takes what it rounds in
    the same way: it multiplies by the weight before it rounds, and once.

    Args:
        x (Tensor): [..., d]
        weight (Tensor): [d]
        eps: added to the mean square.
        inner: the type that the quotient is rounded to before it is multiplied by the weight.
        outer: the type of the result.
    """
    if x.is_cuda and inner == torch.float32 and x.dtype == weight.dtype == outer:
        return F.rms_norm(x, weight.shape, weight, eps)
    if torch.is_grad_enabled():
        return _RMSNormFunction.apply(x, weight, eps, inner, outer)
    return _scaled(x, weight, eps, inner, outer)[0]


class RMSNorm(nn.Module):
    """Root mean square norm (Zhang and Sennrich 2019), computed in float32.

    The quotient is rounded to the input's type and then multiplied by the weight, as in Llama.

    Args:
        size: d, the last dimension of the input.
        eps: added to the mean square.
    """

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        outer = torch.promote_types(x.dtype, self.weight.dtype)
        return rms_norm(x, self.weight, self.eps, x.dtype, outer)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}"


class RMSNormRoundedLast(RMSNorm):
    """The same, multiplied by the weight before it is rounded to the input's type, as in OLMo 2 and
    gpt-oss. The weight may be float32 beside an input of 16 bits.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return rms_norm(x, self.weight, self.eps, torch.float32, x.dtype)


class RMSNormOfWeight(RMSNorm):
    """The same, in the weight's type whatever the input's (T5, whose states may be float32 among
    weights of 16 bits)."""

    def forward(self, x: Tensor) -> Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return rms_norm(x, self.weight, self.eps, self.weight.dtype, self.weight.dtype)


class UnitRMSNorm(nn.Module):
    """Root mean square norm without a weight, computed in float32.

    Args:
        eps: added to the mean square.
    """

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [..., d] -> [..., d]"""
        return F.rms_norm(x.float(), x.shape[-1:], eps=self.eps).to(x.dtype)


class OffsetRMSNorm(RMSNorm):
    """RMS norm that multiplies by 1 + weight, in float32 (Gemma).

    A new weight is 0.
    """

    def __init__(self, size: int, eps: float) -> None:
        super().__init__(size, eps)
        nn.init.zeros_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        wide, single = 1 + self.weight.float(), torch.float32
        return rms_norm(x.float(), wide, self.eps, single, single).to(x.dtype)


class OffsetLayerNorm(nn.LayerNorm):
    """Layer norm that multiplies by 1 + weight (Nemotron)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return F.layer_norm(x, self.normalized_shape, 1 + self.weight, self.bias, self.eps)


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
