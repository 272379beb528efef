"""compressed-tensors' `nvfp4-pack-quantized` and `mxfp4-pack-quantized`: 4-bit floats.

For a linear with `n` inputs and `m` outputs:

    weight_packed        uint8    [m, n/2]   two values in a byte, the first in the low half
    weight_scale         e4m3     [m, n/16]  of nvfp4
                         uint8    [m, n/32]  of mxfp4: exponents of two, with a bias of 127
    weight_global_scale  float32  [1]        of nvfp4

    weight[o, i] = value[o, i] * (weight_scale[o, group of i] / weight_global_scale)

Source: https://github.com/vllm-project/compressed-tensors (`compressors/nvfp4`, `mxfp4`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tfcli.models.errors import ModelError
from tfcli.models.layouts.compressed_tensors_parts import CompressedPacking, affine_misfit
from tfcli.models.layouts.elements import (
    NO_NUMBER,
    decode_e2m1,
    decode_e8m0,
    encode_e2m1,
    encode_e8m0,
)
from tfcli.models.layouts.floats import FloatFormat, Scaled
from tfcli.models.layouts.packing import Part, ShapeOf, exactly
from tfcli.models.layouts.values import Values


@dataclass(frozen=True)
class MXFP4(CompressedPacking):
    """4-bit floats, 32 of which share a power of two."""

    main: ClassVar[str] = "weight_packed"
    compression: ClassVar[str] = "mxfp4-pack-quantized"
    group_size: ClassVar[int] = 32

    @property
    def format(self) -> FloatFormat:
        """What it stores."""
        return FloatFormat(4, self.group_size, scale="e8m0", inputs=self.inputs)

    def parts(self, in_features: int, out_features: int) -> dict[str, Part]:
        """What the weight becomes."""
        return {
            "weight_packed": Part(torch.uint8, (out_features, in_features // 2)),
            "weight_scale": Part(self._scale_dtype, (out_features, in_features // self.group_size)),
        } | self.input_parts

    def features(self, shape: ShapeOf) -> tuple[int, int]:
        """Inputs and outputs of a linear."""
        out_features, pairs = shape("weight_packed")
        return 2 * pairs, out_features

    def pack(self, values: Values) -> dict[str, Tensor]:
        """The tensors of a weight."""
        if not isinstance(values, Scaled) or (values.height, values.width) != (1, self.group_size):
            raise ValueError(f"values that are no floats in groups of {self.group_size}")
        return {"weight_packed": encode_e2m1(values.values)} | self._pack_scales(values)

    def unpack(self, parts: Mapping[str, Tensor]) -> Scaled:
        """Undo `pack`."""
        values = decode_e2m1(parts["weight_packed"])
        return Scaled(values, *self._unpack_scales(parts))

    def misfit(self, in_features: int, out_features: int) -> str | None:
        """Why a linear of these sizes cannot be stored so."""
        return affine_misfit(in_features, self.group_size)

    def verify(self, parts: Mapping[str, Tensor], name: str) -> None:
        """Refuse scales that are no numbers."""
        super().verify(parts, name)
        if self._is_odd(parts["weight_scale"]).any():
            raise ModelError("a scale is not finite", where=f"{name}.weight_scale")

    _scale_dtype: ClassVar[torch.dtype] = torch.uint8

    def _pack_scales(self, values: Scaled) -> dict[str, Tensor]:
        if values.divisor is not None:
            raise ValueError("scales over a number for the whole weight")
        return {"weight_scale": encode_e8m0(values.scales)}

    def _unpack_scales(self, parts: Mapping[str, Tensor]) -> tuple[Tensor, int, int, Tensor | None]:
        return decode_e8m0(parts["weight_scale"]), 1, self.group_size, None

    def _is_odd(self, scales: Tensor) -> Tensor:
        return scales == NO_NUMBER


@dataclass(frozen=True)
class NVFP4(MXFP4):
    """4-bit floats, 16 of which share an 8-bit float over one number for the whole weight."""

    compression: ClassVar[str] = "nvfp4-pack-quantized"
    group_size: ClassVar[int] = 16

    @property
    def format(self) -> FloatFormat:
        """What it stores."""
        return FloatFormat(4, self.group_size, scale="e4m3", inputs=self.inputs)

    def parts(self, in_features: int, out_features: int) -> dict[str, Part]:
        """What the weight becomes."""
        found = super().parts(in_features, out_features)
        return found | {"weight_global_scale": Part(torch.float32, (1,))}

    def verify(self, parts: Mapping[str, Tensor], name: str) -> None:
        """Refuse a number for the whole weight that nothing can be divided by."""
        super().verify(parts, name)
        if not (parts["weight_global_scale"] > 0).all():
            raise ModelError("is not above 0", where=f"{name}.weight_global_scale")

    _scale_dtype: ClassVar[torch.dtype] = torch.float8_e4m3fn

    def _pack_scales(self, values: Scaled) -> dict[str, Tensor]:
        if values.divisor is None:
            raise ValueError("scales without a number for the whole weight")
        scales = exactly(values.scales, torch.float8_e4m3fn)
        return {"weight_scale": scales, "weight_global_scale": values.divisor.float().view(1)}

    def _unpack_scales(self, parts: Mapping[str, Tensor]) -> tuple[Tensor, int, int, Tensor | None]:
        return parts["weight_scale"], 1, self.group_size, parts["weight_global_scale"].float()

    def _is_odd(self, scales: Tensor) -> Tensor:
        return scales.view(torch.uint8) & 0x7F == 0x7F
