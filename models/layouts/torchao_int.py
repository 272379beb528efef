"""torchao's whole numbers of up to 8 bits, one in a byte: its Int8Tensor and its
IntxUnpackedToInt8Tensor.

For a linear with `n` inputs and `m` outputs, in `g` groups of inputs:

    _weight_qdata       int8   [m, n]   levels, counted from -2**(bits-1)
    _weight_scale       float  [m, g]   [1, 1] for one scale in all
    _weight_zero_point  int8   [m, g]   counted as levels are; 0 of symmetric weights, of which
                                        torchao before 0.18 leaves it out

    weight = (level - zero point) * scale

Source: torchao 0.18, `quantization/quantize_/workflows/int8/int8_tensor.py` and
`intx/intx_unpacked_to_int8_tensor.py`; `prototype/safetensors` for the names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from tfcli.models.errors import ModelError
from tfcli.models.layouts.compressed_tensors_parts import affine_misfit, middle, spread, whole
from tfcli.models.layouts.packing import Part, ShapeOf, exactly
from tfcli.models.layouts.torchao_parts import MAIN, SCALE, ZERO, WrittenPacking, dtype_of
from tfcli.models.layouts.values import Affine, AffineFormat, Values


@dataclass(frozen=True)
class TorchAOInt(WrittenPacking):
    """Levels in bytes, with scales for rows, groups, or all.

    Args:
        bits: 1 to 8.
        group_size: inputs that share a scale, -1 for all of a row.
        symmetric: every zero point is 0.
        tensor: one scale for the whole weight; only read.
        narrow: it is an IntxUnpackedToInt8Tensor, which all but 8 bits are.
    """

    output_axes: ClassVar[Mapping[str, int]] = dict.fromkeys((MAIN, SCALE, ZERO), 0)

    bits: int = 8
    group_size: int = -1
    symmetric: bool = True
    tensor: bool = False
    narrow: bool = False

    @property
    def format(self) -> AffineFormat:
        """What it stores."""
        return AffineFormat(self.bits, self.group_size, self.symmetric, inputs=self.inputs)

    @property
    def rows_of_bytes(self) -> tuple[str, str] | None:
        """Levels and one scale for each row."""
        return (MAIN, SCALE) if self.symmetric and self.group_size == -1 else None

    def parts(self, in_features: int, out_features: int) -> dict[str, Part]:
        """What the weight becomes."""
        groups = -(-in_features // self.format.width(in_features))
        shape = (1, 1) if self.tensor else (out_features, groups)
        return {
            MAIN: Part(torch.int8, (out_features, in_features)),
            SCALE: Part(torch.float32, shape),
            ZERO: Part(torch.int8, shape),
        }

    def features(self, shape: ShapeOf) -> tuple[int, int]:
        """Inputs and outputs of a linear."""
        out_features, in_features = shape(MAIN)
        return in_features, out_features

    def pack(self, values: Values) -> dict[str, Tensor]:
        """The tensors of a weight."""
        if not isinstance(values, Affine) or values.bits != self.bits or self.tensor:
            raise ValueError(f"values that are no levels of {self.bits} bits")
        if values.group_index is not None:
            raise ValueError("groups that are no runs of inputs")
        zeros, zero = whole(values.zeros, self.bits).to(torch.int16), middle(self.bits)
        if self.symmetric and not (zeros == zero).all():
            raise ValueError("zero points of a symmetric weight that are not the middle level")
        return {
            MAIN: (values.levels.to(torch.int16) - zero).to(torch.int8).contiguous(),
            SCALE: exactly(values.scales, torch.float32).contiguous(),
            ZERO: (zeros - zero).to(torch.int8).contiguous(),
        }

    def unpack(self, parts: Mapping[str, Tensor]) -> Affine:
        """Undo `pack`."""
        m, n = parts[MAIN].shape
        zero = middle(self.bits)
        levels = (parts[MAIN].to(torch.int16) + zero).to(torch.uint8)
        zeros = (spread(parts[ZERO], m).to(torch.int16) + zero).to(torch.uint8)
        width = self.format.width(n)
        return Affine(levels, spread(parts[SCALE], m), zeros, self.bits, width)

    def left_out(self, part: str, in_features: int, out_features: int) -> Tensor | None:
        """Zero points of symmetric weights, which older versions do not write."""
        if part != ZERO or not self.symmetric:
            return None
        return torch.zeros(self.parts(in_features, out_features)[ZERO].shape, dtype=torch.int8)

    def misfit(self, in_features: int, out_features: int) -> str | None:
        """Why a linear of these sizes cannot be stored so."""
        return affine_misfit(in_features, self.group_size)

    def verify(self, parts: Mapping[str, Tensor], name: str) -> None:
        """Refuse levels and zero points beyond the bits, and zero points that torchao would not
        heed."""
        super().verify(parts, name)
        zero = middle(self.bits)
        for part in (MAIN, ZERO):
            low, high = (int(bound) for bound in parts[part].aminmax())
            if low < -zero or high >= zero:
                raise ModelError(
                    f"holds {low} to {high}, more than {self.bits} bits", where=f"{name}.{part}"
                )
        if self.symmetric and parts[ZERO].any():
            raise ModelError(
                "holds zero points, and the config says that the weight is symmetric",
                where=f"{name}.{ZERO}",
            )

    def told(self, in_features: int, out_features: int, dtype: str) -> dict[str, Any]:
        """The tensor subclass, as torchao describes it in the header."""
        said: dict[str, Any] = {
            "block_size": [1, self.format.width(in_features)],
            "dtype": dtype_of(dtype),
        }
        if not self.narrow:
            said |= {"act_quant_kwargs": self._inputs_told, "reduce_range": False}
            return {"_type": "Int8Tensor", "_data": said, "_tensor_data_names": _ALL}
        said["target_dtype"] = dtype_of(f"int{self.bits}")
        said["activation_quantization"] = None
        return {"_type": "IntxUnpackedToInt8Tensor", "_data": said, "_tensor_data_names": _ALL}

    @property
    def _inputs_told(self) -> dict[str, Any] | None:
        if self.inputs is None:
            return None
        kind = "SYMMETRIC" if self.inputs.symmetric else "ASYMMETRIC"
        return {
            "_type": "QuantizeTensorToInt8Kwargs",
            "_data": {
                "granularity": {"_type": "PerRow", "_data": {"dim": -1}},
                "mapping_type": {"_type": "MappingType", "_data": kind},
                "reduce_range": False,
            },
        }


_ALL = ["qdata", "scale", "zero_point"]
