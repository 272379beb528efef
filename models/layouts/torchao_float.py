"""torchao's 8-bit floats: its Float8Tensor.

For a linear with `n` inputs and `m` outputs:

    _weight_qdata   float8_e4m3fn  [m, n]
    _weight_scale   float          [m, 1] for rows, [1, 1] in all, [m, n/g] for groups of g inputs

    weight = value * scale

Source: torchao 0.18, `quantization/quantize_/workflows/float8/float8_tensor.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tfcli.models.errors import ModelError
from tfcli.models.layouts.compressed_tensors_parts import affine_misfit
from tfcli.models.layouts.floats import FloatFormat, Scaled
from tfcli.models.layouts.packing import Part, ShapeOf, exactly
from tfcli.models.layouts.torchao_parts import MAIN, SCALE, WrittenPacking, dtype_of
from tfcli.models.layouts.values import Values


@dataclass(frozen=True)
class TorchAOFloat(WrittenPacking):
    """8-bit floats with scales.

    Args:
        outputs: outputs that share a scale: 1, or -1 for all.
        group_size: inputs that share a scale, -1 for all.
    """

    outputs: int = 1
    group_size: int = -1

    @property
    def format(self) -> FloatFormat:
        """What it stores."""
        return FloatFormat(8, self.group_size, self.outputs, inputs=self.inputs)

    def parts(self, in_features: int, out_features: int) -> dict[str, Part]:
        """What the weight becomes."""
        return {
            MAIN: Part(torch.float8_e4m3fn, (out_features, in_features)),
            SCALE: Part(torch.float32, self.format.grid(out_features, in_features)),
        }

    def features(self, shape: ShapeOf) -> tuple[int, int]:
        """Inputs and outputs of a linear."""
        out_features, in_features = shape(MAIN)
        return in_features, out_features

    def pack(self, values: Values) -> dict[str, Tensor]:
        """The tensors of a weight."""
        block = self.format.block(*values.shape)
        if not isinstance(values, Scaled) or (values.height, values.width) != block:
            raise ValueError("values that are no 8-bit floats with these scales")
        if values.values.dtype != torch.float8_e4m3fn or values.divisor is not None:
            raise ValueError("values that are no floats of the type e4m3 with one scale each")
        scales = exactly(values.scales, torch.float32).contiguous()
        return {MAIN: values.values.contiguous(), SCALE: scales}

    def unpack(self, parts: Mapping[str, Tensor]) -> Scaled:
        """Undo `pack`."""
        return Scaled(parts[MAIN], parts[SCALE], *self.format.block(*parts[MAIN].shape))

    def misfit(self, in_features: int, out_features: int) -> str | None:
        """Why a linear of these sizes cannot be stored so."""
        return affine_misfit(in_features, self.group_size)

    def verify(self, parts: Mapping[str, Tensor], name: str) -> None:
        """Refuse what is no number."""
        super().verify(parts, name)
        if (parts[MAIN].view(torch.uint8) & 0x7F == 0x7F).any():
            raise ModelError("holds NaN", where=f"{name}.{MAIN}")

    def told(self, in_features: int, out_features: int, dtype: str) -> dict[str, Any]:
        """The tensor subclass, as torchao describes it in the header."""
        automatic = {"_type": "KernelPreference", "_data": "AUTO"}
        granularity = (
            {"_type": "PerRow", "_data": {"dim": -1}}
            if self.outputs == 1
            else {"_type": "PerTensor", "_data": {}}
        )
        rounded = {
            "_type": "QuantizeTensorToFloat8Kwargs",
            "_data": {
                "float8_dtype": dtype_of("float8_e4m3fn"),
                "granularity": granularity,
                "mm_config": None,
                "hp_value_lb": None,
                "hp_value_ub": None,
                "kernel_preference": automatic,
            },
        }
        fast = {
            "_type": "Float8MMConfig",
            "_data": {"emulate": False, "use_fast_accum": True, "pad_inner_dim": False},
        }
        said = {
            "block_size": list(self.format.block(out_features, in_features)),
            "mm_config": None if self.inputs is None else fast,
            "act_quant_kwargs": None if self.inputs is None else rounded,
            "kernel_preference": automatic,
            "dtype": dtype_of(dtype),
        }
        return {"_type": "Float8Tensor", "_data": said, "_tensor_data_names": ["qdata", "scale"]}
