"""torch's packed 4-bit matrix product on the CPU, for the few rows of decoding.

`_weight_int4pack_mm_for_cpu` computes x W^T with W[o, i] = (level[o, i] - 8) * scale[o, i // g]
straight from 4-bit weights, which reads a quarter of the bytes that bf16 weights take. It has a
vector kernel for bf16 inputs only; fp16 and fp32 ones run element by element. So it does on
processors without AVX2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tfcli.models import processor
from tfcli.models.layouts.packing import Packing
from tfcli.models.layouts.values import Affine, AffineFormat, Format

GROUP_SIZES = (32, 64, 128, 256)
OUT_MULTIPLE = 16
MOST_ROWS = 128
"""Beyond this many rows, unpacking once for all of them is faster. Milliseconds for 2048 x 2048 on
one core of an AMD EPYC (Zen 4), the kernel against unpacking and the product: 64 rows 6.4 and 12,
128 rows 13 and 15, 256 rows 26 and 19."""


def is_fast() -> bool:
    """Whether the kernel has instructions for this processor."""
    return processor.is_x86() and "avx2" in processor.features()


def takes_format(form: Format) -> bool:
    """Whether the kernel has weights of a format."""
    affine = isinstance(form, AffineFormat) and form.symmetric
    return affine and form.bits == 4 and form.group_size in GROUP_SIZES


def fits(out_features: int, packing: Packing, parts: Mapping[str, Tensor]) -> bool:
    """Whether the kernel has a layer: its format and shape, and groups that are runs of inputs."""
    return (
        takes_format(packing.format)
        and out_features % OUT_MULTIPLE == 0
        and packing.has_runs(parts)
    )


def takes(x: Tensor) -> bool:
    """Whether the kernel is right and fast for this input, [..., n]."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.bfloat16
        and is_fast()
        and x.numel() <= MOST_ROWS * x.shape[-1]
        and not (x.requires_grad and torch.is_grad_enabled())
    )


@dataclass(frozen=True)
class Int4Weight:
    """A weight in the kernel's own layout.

    Args:
        packed (Tensor): uint8 [m, n/2], in an order that is the kernel's business.
        scales_and_zeros (Tensor): bf16 [groups, m, 2].
        group_size: inputs that share a scale.
    """

    packed: Tensor
    scales_and_zeros: Tensor
    group_size: int

    @classmethod
    def of(cls, values: Affine) -> Int4Weight:
        """Repack a weight of 4 bits whose zero points are 8."""
        rows = values.levels.to(torch.int32).contiguous()
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(rows, 1)
        scale = values.scales.t().to(torch.bfloat16)
        pairs = torch.stack([scale, torch.zeros_like(scale)], dim=-1)
        return cls(packed, pairs, values.group_size)

    def __call__(self, x: Tensor) -> Tensor:
        """x (Tensor): bf16 [..., n] -> bf16 [..., m]"""
        rows = x.reshape(-1, x.shape[-1])
        out = torch.ops.aten._weight_int4pack_mm_for_cpu(
            rows, self.packed, self.group_size, self.scales_and_zeros
        )
        return out.view(*x.shape[:-1], -1)
