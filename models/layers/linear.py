"""The one dense linear layer. Adapters and quantized layers replace it as a module."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Linear(nn.Linear):
    """`nn.Linear`, with a faster kernel for a single row on a CPU.

    Decoding one token reads every weight once, so it runs at the speed of memory. On 2 cores with
    26 GB/s of it, `torch.mv` reads bfloat16 weights at 20 to 24 GB/s and `F.linear` at 13 to 18
    (2048x2048 to 8192x2048). A transposed bfloat16 weight is read at 7 to 8 and 9 GB/s.
    """

    def reset_parameters(self) -> None:
        """Random values, except on the meta device: there torch would import its compiler."""
        if not self.weight.is_meta:
            super().reset_parameters()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [..., in_features] -> [..., out_features]"""
        weight = self.weight
        if (
            not torch.compiler.is_exporting()  # a graph for any number of rows does not ask for one
            and x.numel() == self.in_features
            and x.device.type == "cpu"
            and x.dtype == weight.dtype
            and weight.is_contiguous()
            and not torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")  # which would choose another dtype
        ):
            row = x.reshape(-1)
            if self.bias is None:
                out = torch.mv(weight, row)
            else:
                out = torch.addmv(self.bias, weight, row)
            return out.view(*x.shape[:-1], self.out_features)
        return F.linear(x, weight, self.bias)


def linear(in_features: int, out_features: int, bias: bool) -> nn.Module:
    """The linear layer of every family. Weight [out_features, in_features], bias [out_features]."""
    return Linear(in_features, out_features, bias=bias)
