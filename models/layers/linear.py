"""The one dense linear layer, and the one place that chooses how it multiplies.

On an x86 processor the same product has several implementations, and which is fast depends on the
weight's type, the number of rows and the processor. Milliseconds for a 2048 x 2048 weight on one
core of an AMD EPYC (Zen 4), by rows, with its AVX-512 and bf16 instructions and, after the bar,
with both libraries held to AVX2; lowest of 7 runs over 64 MB of weights:

    rows   fp32: MKL    fp32: oneDNN    bf16: torch    fp16: torch    16 bits: cast in tiles
    1      1.2 | 1.0    1.1 | 0.9       0.8 | 0.4      0.4 | 0.5      1.2 | 1.2
    4      2.3 | 2.3    1.7 | 1.9       0.7 | 2.0      2.1 | 2.2      1.7 | 2.0
    8      2.2 | 2.6    1.7 | 2.1       0.8 | 3.9      3.4 | 3.8      2.1 | 2.4
    64     7.4 | 7.9    5.9 | 7.2       3.1 | 25       24 | 23        6.5 | 6.8
    256    25 | 25      20 | 21         10 | 101       99 | 93        23 | 23

So float32 goes to oneDNN. MKL's product of a single row also runs on one thread on such processors,
and its bits depend on where in memory the weight lies; none of the others do.

Up to 8 rows without a gradient, as in decoding, take a kernel of our own (`models/kernels`), which
reads weights as fast as memory gives them. Where it cannot be compiled, torch's products serve.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from tfcli.models import processor
from tfcli.models.kernels import dense

MOST_16_BIT_ROWS = 4
"""Beyond this many rows, 16-bit weights are cast in tiles where there are no 16-bit products."""

TILE = 1 << 19
"""Weights that are cast at a time: 2 MB of float32, which a core's cache holds in part."""

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class Linear(nn.Linear):
    """`nn.Linear` that multiplies by `product`. Weights stay as they are in memory."""

    def reset_parameters(self) -> None:
        """Random values, except on the meta device: there torch would import its compiler."""
        if not self.weight.is_meta:
            super().reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """x (Tensor): [..., in_features] -> [..., out_features]"""
        return product(x, self.weight, self.bias)


def linear(in_features: int, out_features: int, bias: bool) -> nn.Module:
    """The linear layer of every family. Weight [out_features, in_features], bias [out_features]."""
    return Linear(in_features, out_features, bias=bias)


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`F.linear`, by the fastest way that this processor has. Differentiable.

    x (Tensor): [..., n]; weight (Tensor): [m, n]; bias (Tensor): [m] -> [..., m]
    """
    if not (
        processor.may_choose(x, weight)
        and x.dtype == weight.dtype
        and x.dtype in _DTYPES
        and x.numel() > 0
        and x.shape[-1] == weight.shape[-1]
        and (bias is None or bias.dtype == x.dtype)
    ):
        return F.linear(x, weight, bias)
    given = [x, weight] if bias is None else [x, weight, bias]
    with_gradient = torch.is_grad_enabled() and any(each.requires_grad for each in given)
    rows = x.numel() // weight.shape[1]
    if not with_gradient and dense.fits(weight, rows):
        few = dense.matvec(weight, x, bias)
        if few is not None:
            return few
    if weight.dtype == torch.float32:
        return (_Single.apply if with_gradient else _onednn)(x, weight, bias)
    if processor.has_products(weight.dtype):
        if rows == 1 and weight.is_contiguous() and not with_gradient:
            out = _one_row(x.reshape(-1), weight).view(*x.shape[:-1], weight.shape[0])
            return out if bias is None else out + bias
        return F.linear(x, weight, bias)
    if rows <= MOST_16_BIT_ROWS:
        return F.linear(x, weight, bias)
    return (_Tiled.apply if with_gradient else _tiled)(x, weight, bias)


def _one_row(x: Tensor, weight: Tensor) -> Tensor:
    """W x for a processor with 16-bit products. x (Tensor): [n] -> [m]

    A single row reads every weight once, so it runs at the speed of memory at best. With AMX,
    torch.mv reads bf16 weights at 20 to 24 GB/s and F.linear at 13 to 18 (2 cores with 26 GB/s,
    2048x2048 to 8192x2048). Without, both go through oneDNN, F.linear at 11 GB/s a core and
    torch.mv at 5, and torch's own kernel, which it uses when oneDNN is off, reads 20 (Zen 4).
    """
    if weight.dtype != torch.bfloat16 or "amx_bf16" in processor.features():
        return torch.mv(weight, x)
    torch._C._set_mkldnn_enabled(False)
    try:
        return torch.mv(weight, x)
    finally:
        torch._C._set_mkldnn_enabled(True)  # as it was: see `may_choose`


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Float32 x W^T + b by oneDNN, for a weight of any strides. Autograd does not see through."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")
    return out


def _tiled(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x W^T + b of 16-bit tensors in float32, a tile of the weight at a time."""
    out = x.new_empty(*x.shape[:-1], weight.shape[0])
    single = x.float()
    height = max(1, TILE // weight.shape[1])
    for start in range(0, weight.shape[0], height):
        tile = slice(start, start + height)
        shift = None if bias is None else bias[tile].float()
        out[..., tile] = _onednn(single, weight[tile].float(), shift)
    return out


def _tiled_back(gradient: Tensor, weight: Tensor) -> Tensor:
    """The gradient of x: g W of 16-bit tensors in float32, a tile of the weight at a time."""
    single = gradient.float()
    total = single.new_zeros(*gradient.shape[:-1], weight.shape[1])
    height = max(1, TILE // weight.shape[1])
    for start in range(0, weight.shape[0], height):
        tile = slice(start, start + height)
        total += _onednn(single[..., tile], weight[tile].float().t(), None)
    return total.to(gradient.dtype)


class _Single(torch.autograd.Function):
    """x W^T + b in float32. Its backward pass is made of differentiable steps."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        to_x, to_weight, to_bias = ctx.needs_input_grad
        return (
            product(gradient, weight.t(), None) if to_x else None,
            _for_weight(gradient, x) if to_weight else None,
            _rows(gradient).sum(0) if to_bias else None,
        )


class _Tiled(torch.autograd.Function):
    """x W^T + b of 16-bit tensors, multiplied in float32. Differentiable once."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _tiled(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        to_x, to_weight, to_bias = ctx.needs_input_grad
        return (
            _tiled_back(gradient, weight) if to_x else None,
            _for_weight(gradient.float(), x.float()).to(weight.dtype) if to_weight else None,
            _rows(gradient).sum(0) if to_bias else None,
        )


def _for_weight(gradient: Tensor, x: Tensor) -> Tensor:
    """g^T x. MKL's product of two transposed matrices is the faster one here, by 10 to 20%."""
    return _rows(gradient).t() @ _rows(x)


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])
