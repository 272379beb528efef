"""A linear whose weight is packed for the kernels of this processor, and is nowhere else."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tfcli.models.kernels.packed_rows import PackedRows
from tfcli.models.layers.linear import product


class KernelLinear(nn.Module):
    """y = x W^T + b with a W of 2, 3, 4 or 8 bits, for inference on a CPU.

    Inputs are rounded to 8 bits (see `packed_rows`), unless a gradient must reach them. It cannot
    be saved: what it was made of is gone.

    Args:
        weight: the packed weight.
        bias (Tensor): [m] or None.
    """

    bias: Tensor | None

    def __init__(self, weight: PackedRows, bias: Tensor | None) -> None:
        super().__init__()
        self.in_features, self.out_features = weight.in_features, weight.out_features
        self.weight = weight
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (Tensor): [..., in_features] -> [..., out_features], in the dtype of x."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        if torch.is_grad_enabled() and x.requires_grad:
            return product(x, self.weight.dequantize(x.dtype), bias)
        return self.weight(x, bias)

    @property
    def nbytes(self) -> int:
        """Bytes of the weight."""
        return self.weight.nbytes

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return f"{self.in_features}, {self.out_features}, {self.weight.container} bits"
