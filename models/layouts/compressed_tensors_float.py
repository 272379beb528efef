"""compressed-tensors' `float-quantized` and `naive-quantized` weights of 8-bit floats.

For a linear with `n` inputs and `m` outputs:

    weight        float8_e4m3fn  [m, n]
    weight_scale  float          [m, 1], [1] for one in all, or one for each block of outputs and
                                 inputs, of which the last are cut off; of `mxfp8-quantized`
                                 uint8 [m, n/32], exponents of two

    weight[o, i] = weight[o, i] * weight_scale[block of o, block of i]

Source: https://github.com/vllm-project/compressed-tensors (`compressors/naive_quantized`, `mxfp8`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tfcli.models.errors import ModelError
from tfcli.models.layouts.compressed_tensors_parts import CompressedPacking, affine_misfit
from tfcli.models.layouts.elements import NO_NUMBER, decode_e8m0, encode_e8m0
from tfcli.models.layouts.floats import FloatFormat, Scaled
from tfcli.models.layouts.packing import Part, ShapeOf, exactly
from tfcli.models.layouts.values import Values


@dataclass(frozen=True)
class FloatQuantized(CompressedPacking):
    """8-bit floats with scales.

    Args:
        outputs: outputs that share a scale, -1 for all.
        group_size: inputs that share a scale, -1 for all.
        powers: scales are powers of two, stored as exponents.
    """

    main: ClassVar[str] = "weight"

    outputs: int = 1
    group_size: int = -1
    powers: bool = False

    @property
    def compression(self) -> str:  # type: ignore[override]
        """As the library chooses it: weights alone are `naive-quantized`."""
        if self.powers:
            return "mxfp8-quantized"
        return "naive-quantized" if self.inputs is None else "float-quantized"

    @property
    def format(self) -> FloatFormat:
        """What it stores."""
        scale = "e8m0" if self.powers else "float"
        return FloatFormat(8, self.group_size, self.outputs, scale, inputs=self.inputs)  # type: ignore[arg-type]

    def parts(self, in_features: int, out_features: int) -> dict[str, Part]:
        """What the weight becomes."""
        shape: tuple[int, ...] = self.format.grid(out_features, in_features)
        if self.outputs == -1 and self.group_size == -1:
            shape = (1,)
        return {
            "weight": Part(torch.float8_e4m3fn, (out_features, in_features)),
            "weight_scale": Part(torch.uint8 if self.powers else torch.float32, shape),
        } | self.input_parts

    def features(self, shape: ShapeOf) -> tuple[int, int]:
        """Inputs and outputs of a linear."""
        out_features, in_features = shape("weight")
        return in_features, out_features

    def pack(self, values: Values) -> dict[str, Tensor]:
        """The tensors of a weight."""
        block = self.format.block(*values.shape)
        if not isinstance(values, Scaled) or (values.height, values.width) != block:
            raise ValueError("values that are no 8-bit floats with these scales")
        if values.values.dtype != torch.float8_e4m3fn or values.divisor is not None:
            raise ValueError("values that are no floats of the type e4m3 with one scale each")
        m, n = values.shape
        scales = (
            encode_e8m0(values.scales) if self.powers else exactly(values.scales, torch.float32)
        )
        shape = self.parts(n, m)["weight_scale"].shape
        return {"weight": values.values.contiguous(), "weight_scale": scales.reshape(shape)}

    def unpack(self, parts: Mapping[str, Tensor]) -> Scaled:
        """Undo `pack`."""
        m, n = parts["weight"].shape
        scales = parts["weight_scale"]
        scales = decode_e8m0(scales) if self.powers else scales
        return Scaled(
            parts["weight"], scales.reshape(self.format.grid(m, n)), *self.format.block(m, n)
        )

    def misfit(self, in_features: int, out_features: int) -> str | None:
        """Why a linear of these sizes cannot be stored so: blocks may be cut off, groups not."""
        if self.outputs == 1 and self.group_size > 0:
            return affine_misfit(in_features, self.group_size)
        grouped = None if self.inputs is None else self.inputs.group_size
        return None if grouped is None else affine_misfit(in_features, grouped)

    def verify(self, parts: Mapping[str, Tensor], name: str) -> None:
        """Refuse what is no number."""
        super().verify(parts, name)
        if (parts["weight"].view(torch.uint8) & 0x7F == 0x7F).any():
            raise ModelError("holds NaN", where=f"{name}.weight")
        if self.powers and (parts["weight_scale"] == NO_NUMBER).any():
            raise ModelError("a scale is not finite", where=f"{name}.weight_scale")
