"""compressed-tensors' `pack-quantized`: whole numbers of 1 to 8 bits in 32-bit words.

For a linear with `n` inputs and `m` outputs, quantized to `b` bits in `g` groups of inputs:

    weight_packed      int32  [m, n*b/32]   levels, packed along the inputs (see `words`)
    weight_scale       float  [m, g]        [1] for one scale in all
    weight_zero_point  int32  [m*b/32, g]   packed along the outputs; of asymmetric weights
    weight_g_idx       int32  [n]           the group of each input; of reordered ones
    weight_shape       int64  [2]           m and n

The library counts levels and zero points from -2**(b-1) and stores them from 0, as they are here.
Source: https://github.com/vllm-project/compressed-tensors (`compressors/pack_quantized`).
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
from tfcli.models.layouts.values import Affine, AffineFormat, Values, runs
from tfcli.models.layouts.words import PACK, pack_padded, unpack_padded


@dataclass(frozen=True)
class PackQuantized(CompressedPacking):
    """Levels in words, with scales for rows or groups.

    Args:
        bits: 1 to 8.
        group_size: inputs that share a scale, -1 for all of a row.
        symmetric: every zero point is the middle level, and none is stored.
        tensor: one scale for the whole weight; only read.
        ordered: groups are no runs of inputs, and `weight_g_idx` is there.
        scale_dtype: in which scales are written.
    """

    main: ClassVar[str] = "weight_packed"
    output_axes: ClassVar[Mapping[str, int]] = dict.fromkeys(
        ("weight_packed", "weight_scale", "weight_zero_point"), 0
    )
    compression: ClassVar[str] = "pack-quantized"

    bits: int = 4
    group_size: int = 128
    symmetric: bool = True
    tensor: bool = False
    ordered: bool = False
    scale_dtype: torch.dtype = torch.float16

    @property
    def format(self) -> AffineFormat:
        """What it stores."""
        return AffineFormat(self.bits, self.group_size, self.symmetric, inputs=self.inputs)

    def parts(self, in_features: int, out_features: int) -> dict[str, Part]:
        """What the weight becomes."""
        groups = -(-in_features // self.format.width(in_features))
        found = {
            "weight_packed": Part(torch.int32, (out_features, -(-in_features * self.bits // PACK))),
            "weight_scale": scale_part(self.tensor, out_features, groups, self.scale_dtype),
        }
        if not self.symmetric:
            rows = -(-out_features * self.bits // PACK)
            found["weight_zero_point"] = Part(torch.int32, (rows, groups))
        if self.ordered:
            found["weight_g_idx"] = Part(torch.int32, (in_features,))
        found["weight_shape"] = Part(torch.int64, (2,))
        return found | self.input_parts

    def features(self, shape: ShapeOf) -> tuple[int, int]:
        """Inputs and outputs of a linear."""
        rows, words = shape("weight_packed")
        return words * PACK // self.bits, rows

    def pack(self, values: Values) -> dict[str, Tensor]:
        """The tensors of a weight."""
        if not isinstance(values, Affine) or values.bits != self.bits or self.tensor:
            raise ValueError(f"values that are no levels of {self.bits} bits")
        m, n = values.shape
        zeros = whole(values.zeros, self.bits)
        found = {
            "weight_packed": pack_padded(values.levels.t(), self.bits).t().contiguous(),
            "weight_scale": exactly(values.scales, self.scale_dtype).contiguous(),
            "weight_shape": torch.tensor([m, n]),
        }
        if not self.symmetric:
            found["weight_zero_point"] = pack_padded(zeros, self.bits)
        elif not (zeros == middle(self.bits)).all():
            raise ValueError("zero points of a symmetric weight that are not the middle level")
        if self.ordered:
            found["weight_g_idx"] = values.index
        elif values.group_index is not None:
            raise ValueError("groups that are no runs of inputs")
        return found

    def unpack(self, parts: Mapping[str, Tensor]) -> Affine:
        """Undo `pack`."""
        words, index = parts["weight_packed"], parts.get("weight_g_idx")
        m, n = len(words), words.shape[1] * PACK // self.bits
        width = self.format.width(n)
        scales = spread(parts["weight_scale"], m)
        if self.symmetric:
            zeros = torch.full_like(scales, middle(self.bits), dtype=torch.uint8)
        else:
            zeros = unpack_padded(parts["weight_zero_point"], self.bits, m)
        levels = unpack_padded(words.t(), self.bits, n).t()
        return Affine(levels, scales, zeros, self.bits, width, index)

    def misfit(self, in_features: int, out_features: int) -> str | None:
        """Why a linear of these sizes cannot be stored so."""
        if in_features * self.bits % PACK:
            return f"has {in_features} inputs, which {self.bits} bits do not pack into whole words"
        return affine_misfit(in_features, self.group_size)

    def left_out(self, part: str, in_features: int, out_features: int) -> Tensor | None:
        """The shape, which the words tell too."""
        return torch.tensor([out_features, in_features]) if part == "weight_shape" else None

    def has_runs(self, parts: Mapping[str, Tensor]) -> bool:
        """Whether groups are runs of neighbours."""
        if not self.ordered:
            return True
        index = parts["weight_g_idx"]
        return torch.equal(index, runs(len(index), self.group_size).to(index.device))

    def verify(self, parts: Mapping[str, Tensor], name: str) -> None:
        """Refuse another shape than that of the words, and groups that do not exist."""
        super().verify(parts, name)
        rows, words = parts["weight_packed"].shape
        shape = [rows, words * PACK // self.bits]
        if parts["weight_shape"].tolist() != shape:
            raise ModelError(
                f"is {parts['weight_shape'].tolist()}, and the packed weight is {shape}",
                where=f"{name}.weight_shape",
            )
        if self.ordered:
            index, groups = parts["weight_g_idx"], parts["weight_scale"].shape[-1]
            if int(index.min()) < 0 or int(index.max()) >= groups:
                where = f"{name}.weight_g_idx"
                raise ModelError(f"a group is outside of 0 .. {groups - 1}", where=where)
