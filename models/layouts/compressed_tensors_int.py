"""compressed-tensors' `int-quantized`: whole numbers of up to 8 bits, one in a byte.

For a linear with `n` inputs and `m` outputs, in `g` groups of inputs:

    weight             int8   [m, n]   levels, counted from -2**(bits-1)
    weight_scale       float  [m, g]   [1] for one scale in all
    weight_zero_point  int8   [m, g]   counted as levels are; of asymmetric weights

Source: https://github.com/vllm-project/compressed-tensors (`compressors/naive_quantized`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tfcli.models.errors import ModelError
from tfcli.models.layouts.compressed_tensors_parts import (
    CompressedPacking,
    affine_misfit,
    middle,
    scale_part,
    spread,
    whole,
)
from tfcli.models.layouts.packing import Part, ShapeOf, exactly
from tfcli.models.layouts.values import Affine, AffineFormat, Values


@dataclass(frozen=True)
class IntQuantized(CompressedPacking):
    """Levels in bytes, with scales for rows or groups.

    Args:
        bits: 1 to 8.
        group_size: inputs that share a scale, -1 for all of a row.
        symmetric: every zero point is 0, and none is stored.
        tensor: one scale for the whole weight; only read.
    """

    main: ClassVar[str] = "weight"
    output_axes: ClassVar[Mapping[str, int]] = dict.fromkeys(
        ("weight", "weight_scale", "weight_zero_point"), 0
    )
    compression: ClassVar[str] = "int-quantized"

    bits: int = 8
    group_size: int = -1
    symmetric: bool = True
    tensor: bool = False

    @property
    def format(self) -> AffineFormat:
        """What it stores."""
        return AffineFormat(self.bits, self.group_size, self.symmetric, inputs=self.inputs)

    @property
    def rows_of_bytes(self) -> tuple[str, str] | None:
        """Levels and one scale for each row."""
        rows = self.symmetric and self.group_size == -1
        return ("weight", "weight_scale") if rows else None

    def parts(self, in_features: int, out_features: int) -> dict[str, Part]:
        """What the weight becomes."""
        groups = -(-in_features // self.format.width(in_features))
        found = {
            "weight": Part(torch.int8, (out_features, in_features)),
            "weight_scale": scale_part(self.tensor, out_features, groups, torch.float32),
        }
        if not self.symmetric:
            found["weight_zero_point"] = Part(torch.int8, found["weight_scale"].shape)
        return found | self.input_parts

    def features(self, shape: ShapeOf) -> tuple[int, int]:
        """Inputs and outputs of a linear."""
        out_features, in_features = shape("weight")
        return in_features, out_features

    def pack(self, values: Values) -> dict[str, Tensor]:
        """The tensors of a weight."""
        if not isinstance(values, Affine) or values.bits != self.bits or self.tensor:
            raise ValueError(f"values that are no levels of {self.bits} bits")
        if values.group_index is not None:
            raise ValueError("groups that are no runs of inputs")
        zeros, zero = whole(values.zeros, self.bits).to(torch.int16), middle(self.bits)
        found = {
            "weight": (values.levels.to(torch.int16) - zero).to(torch.int8).contiguous(),
            "weight_scale": exactly(values.scales, torch.float32).contiguous(),
        }
        if not self.symmetric:
            found["weight_zero_point"] = (zeros - zero).to(torch.int8).contiguous()
        elif not (zeros == zero).all():
            raise ValueError("zero points of a symmetric weight that are not the middle level")
        return found

    def unpack(self, parts: Mapping[str, Tensor]) -> Affine:
        """Undo `pack`."""
        m, n = parts["weight"].shape
        scales, zero = spread(parts["weight_scale"], m), middle(self.bits)
        levels = (parts["weight"].to(torch.int16) + zero).to(torch.uint8)
        if self.symmetric:
            zeros = torch.full_like(scales, zero, dtype=torch.uint8)
        else:
            zeros = spread(parts["weight_zero_point"], m).to(torch.int16) + zero
        return Affine(levels, scales, zeros, self.bits, self.format.width(n))

    def misfit(self, in_features: int, out_features: int) -> str | None:
        """Why a linear of these sizes cannot be stored so."""
        return affine_misfit(in_features, self.group_size)

    def verify(self, parts: Mapping[str, Tensor], name: str) -> None:
        """Refuse levels beyond the bits."""
        super().verify(parts, name)
        zero = middle(self.bits)
        low, high = parts["weight"].aminmax()
        if int(low) < -zero or int(high) >= zero:
            raise ModelError(
                f"holds {int(low)} to {int(high)}, more than {self.bits} bits",
                where=f"{name}.weight",
            )
