"""torchao's whole numbers of 4 bits in the plain packing: its Int4Tensor. It is read.

For a linear with `n` inputs and `m` outputs, in groups of `g` inputs:

    _weight_qdata       int8   [m, n/2]   two levels in a byte, the first in the low half, each of
                                          -8 to 7
    _weight_scale       float  [n/g, m]
    _weight_zero_point  float  [n/g, m]   the number that level 0 stands for

    weight = level * scale + zero point

Source: torchao 0.18, `quantization/quantize_/workflows/int4/int4_tensor.py`; FBGEMM's and MSLK's
`quantize/shuffle.py` (int4_row_quantize_zp, pack_int4), which it calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tfcli.models.layouts.compressed_tensors_parts import affine_misfit
from tfcli.models.layouts.offset import Offset
from tfcli.models.layouts.packing import Part, ShapeOf
from tfcli.models.layouts.torchao_parts import MAIN, SCALE, ZERO, TorchAOPacking
from tfcli.models.layouts.values import Affine, AffineFormat

_MIDDLE = 8


@dataclass(frozen=True)
class TorchAOInt4(TorchAOPacking):
    """Two levels in a byte, with scales and offsets for groups.

    Args:
        group_size: inputs that share a scale.
    """

    group_size: int = 128

    @property
    def format(self) -> AffineFormat:
        """What it stores."""
        return AffineFormat(4, self.group_size, symmetric=False)

    def parts(self, in_features: int, out_features: int) -> dict[str, Part]:
        """What the weight becomes."""
        shared = Part(torch.bfloat16, (in_features // self.group_size, out_features))
        levels = Part(torch.int8, (out_features, in_features // 2))
        return {MAIN: levels, SCALE: shared, ZERO: shared}

    def features(self, shape: ShapeOf) -> tuple[int, int]:
        """Inputs and outputs of a linear."""
        out_features, half = shape(MAIN)
        return 2 * half, out_features

    def unpack(self, parts: Mapping[str, Tensor]) -> Affine | Offset:
        """Levels counted from 0 where all offsets are 0, which other layouts and kernels have."""
        packed = parts[MAIN].view(torch.uint8)
        codes = torch.stack([packed & 0xF, packed >> 4], dim=-1).flatten(-2)
        scales, offsets = parts[SCALE].t().contiguous(), parts[ZERO].t().contiguous()
        if not offsets.any():
            zeros = torch.full_like(scales, _MIDDLE, dtype=torch.uint8)
            return Affine(codes ^ _MIDDLE, scales, zeros, 4, self.group_size)
        levels = (codes ^ _MIDDLE).view(torch.int8) - _MIDDLE
        return Offset(levels, scales, offsets, 4, self.group_size)

    def misfit(self, in_features: int, out_features: int) -> str | None:
        """Why a linear of these sizes cannot be stored so."""
        return affine_misfit(in_features, self.group_size)
