"""A linear whose weight stays packed in the GPTQ layout and is unpacked when it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from tfcli.models.errors import ModelError
from tfcli.models.layers import int4_kernel
from tfcli.models.layers.gptq_layout import PACK, group_index, unpack, unpack_zeros
from tfcli.models.layers.linear import Linear, product

_CHUNK = 1 << 20
"""Weights that are unpacked at a time: their temporaries then stay in the processor's cache."""
_DEVICE_CHUNK = 1 << 24
"""The same on a device, which waits for every piece to begin: 64 MB of temporaries in float32."""


class QuantizedLinear(nn.Module):
    """y = x W^T + b with W in the GPTQ layout (see `gptq_layout`).

    The buffers always hold what the checkpoint holds. They are not trained; gradients reach x.

    Args:
        in_features: inputs, a multiple of 32.
        out_features: outputs, a multiple of 32.
        bits: 2, 3, 4 or 8.
        group_size: inputs that share a scale, -1 for all.
        bias: whether there is a bias.
        symmetric: the config promises that every zero point is the middle level.
        checkpoint_format: "gptq" or "gptq_v2", the convention of qzeros.
    """

    qweight: Tensor
    qzeros: Tensor
    scales: Tensor
    g_idx: Tensor
    bias: Tensor | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bits: int,
        group_size: int,
        bias: bool,
        symmetric: bool = True,
        checkpoint_format: str = "gptq",
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.bits, self.group_size = bits, in_features if group_size == -1 else group_size
        self.symmetric, self.checkpoint_format = symmetric, checkpoint_format
        groups = -(-in_features // self.group_size)
        packed = bits * in_features // PACK, bits * out_features // PACK
        int32, fp16 = torch.int32, torch.float16
        self.register_buffer("qweight", torch.zeros(packed[0], out_features, dtype=int32))
        self.register_buffer("qzeros", torch.zeros(groups, packed[1], dtype=int32))
        self.register_buffer("scales", torch.zeros(groups, out_features, dtype=fp16))
        self.register_buffer("g_idx", torch.zeros(in_features, dtype=int32))
        self.register_buffer("bias", torch.zeros(out_features, dtype=fp16) if bias else None)
        self._int4: int4_kernel.Int4Weight | None = None
        self._contiguous: bool | None = None

    def forward(self, x: Tensor) -> Tensor:
        """x (Tensor): [..., in_features] -> [..., out_features], in the dtype of x."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        if self._int4_applies(x):
            if self._int4 is None:
                levels = unpack(self.qweight, self.bits)
                self._int4 = int4_kernel.Int4Weight.of(levels, self.scales, self.group_size)
            out = self._int4(x)
            return out if bias is None else out + bias
        return product(x, self.dequantize(x.dtype).t(), bias)

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The weight, transposed: [in_features, out_features].

        Computed in fp32, in which it is exact, and rounded once to `dtype`.
        """
        weight = torch.empty(
            self.in_features, self.out_features, dtype=dtype, device=self.qweight.device
        )
        zeros = unpack_zeros(self.qzeros, self.bits, checkpoint_format=self.checkpoint_format)
        zeros, scales = zeros.to(torch.int16), self.scales.float()
        chunk = _CHUNK if self.qweight.device.type == "cpu" else _DEVICE_CHUNK
        rows = max(1, chunk // (PACK * self.out_features)) * PACK
        if self.has_contiguous_groups:
            unit = max(self.group_size, PACK)
            rows = max(1, rows // unit) * unit
        for start in range(0, self.in_features, rows):
            stop = min(start + rows, self.in_features)
            words = slice(start * self.bits // PACK, stop * self.bits // PACK)
            levels = unpack(self.qweight[words], self.bits).to(torch.int16)
            if self.has_contiguous_groups and not start % self.group_size:
                width = min(self.group_size, stop - start)
                groups = slice(start // self.group_size, -(-stop // self.group_size))
                levels = levels.view(-1, width, self.out_features)
                part = (levels - zeros[groups, None]) * scales[groups, None]
            else:
                index = self.g_idx[start:stop].long()
                part = (levels - zeros[index]) * scales[index]
            weight[start:stop] = part.view(stop - start, self.out_features)
        return weight

    @property
    def has_contiguous_groups(self) -> bool:
        """Whether groups are runs of `group_size` neighbours, as without activation order."""
        if self._contiguous is None:
            plain = group_index(self.in_features, self.group_size).to(self.g_idx.device)
            whole = self.in_features % self.group_size == 0 and (
                self.group_size % PACK == 0 or PACK % self.group_size == 0
            )
            self._contiguous = whole and torch.equal(self.g_idx, plain)
        return self._contiguous

    def verify(self, name: str = "") -> None:
        """Check what the buffers say against what the config declares.

        Args:
            name: the layer's name, for errors.

        Raises:
            ModelError: a group that does not exist, a scale that is not finite, or zero points
                that a symmetric layer of this checkpoint format cannot have.
        """
        if not torch.isfinite(self.scales).all():
            raise ModelError("a scale is not finite", where=f"{name}.scales")
        if int(self.g_idx.min()) < 0 or int(self.g_idx.max()) >= self.scales.shape[0]:
            raise ModelError(
                f"a group is outside of 0 .. {self.scales.shape[0] - 1}", where=f"{name}.g_idx"
            )
        if not self.symmetric:
            return
        zeros = unpack_zeros(self.qzeros, self.bits, checkpoint_format=self.checkpoint_format)
        middle = 1 << (self.bits - 1)
        if not (zeros == middle).all():
            raise ModelError(
                f"the config says sym: true and checkpoint_format: {self.checkpoint_format}, "
                f"but the zero points are {zeros.unique().tolist()[:4]}, not {middle}",
                where=f"{name}.qzeros",
                fix="correct checkpoint_format (gptq or gptq_v2) or sym in quantization_config",
            )

    def has_kernel(self, dtype: torch.dtype) -> bool:
        """Whether few rows of this dtype are multiplied with the weight as it is packed."""
        return (
            dtype == torch.bfloat16
            and self.qweight.device.type == "cpu"
            and int4_kernel.is_fast()
            and self._is_int4
        )

    def unpacked(self, dtype: torch.dtype) -> Linear:
        """A dense layer of the same weight, rounded once to `dtype`."""
        layer = Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        weight = self.dequantize(dtype).t().contiguous()
        layer.weight = nn.Parameter(weight, requires_grad=False)
        if self.bias is not None:
            layer.bias = nn.Parameter(self.bias.to(dtype), requires_grad=False)
        return layer.train(self.training)

    def _int4_applies(self, x: Tensor) -> bool:
        return int4_kernel.takes(x) and self._is_int4

    @property
    def _is_int4(self) -> bool:
        return (
            self.bits == 4
            and self.symmetric
            and int4_kernel.fits(self.out_features, self.group_size)
            and self.has_contiguous_groups
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # model.to(dtype) changes every float; the scales are part of the layout and stay fp16.
        scales = self.scales
        super()._apply(fn, recurse)
        if not scales.is_meta:
            self.scales = scales.to(self.qweight.device)
        self._int4, self._contiguous = None, None
        return self

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return (
            f"{self.in_features}, {self.out_features}, bits={self.bits}, "
            f"group_size={self.group_size}, format={self.checkpoint_format}"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_int4": None}
