"""Weights as ggml's block types hold them, which is how GGUF files store quantized weights.

Sub-blocks of 16 or 32 inputs have a scale, and in some types a least value:

    weight = d * scale * (level - middle) - dmin * min

In the K-types 256 inputs are a block: `d` and `dmin` are its float16 numbers, `scale` and `min` are
small whole numbers of each sub-block. In the older types a block is one sub-block of 32 inputs, and
`scale` and `min` are 1. Source: ggml-common.h and `dequantize_row_*` in ggml-quants.c of
ggml-org/ggml; values are equal to those of the gguf library, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tfcli.models.layouts.values import Format, Values

Range = tuple[int, int]


@dataclass(frozen=True)
class GGMLType:
    """The numbers of a block type.

    Args:
        name: ggml's spelling.
        bits: of a level.
        block: inputs of a block, which share `d` and `dmin`.
        group: inputs of a sub-block, which share `scale` and `min`.
        levels: the least and the largest.
        middle: the level that stands for zero, before least values.
        scales: the least and the largest whole number of a sub-block's scale.
        mins: the same of its least value; None where the type has none.
        nbytes: of a block.
    """

    name: str
    bits: int
    block: int
    group: int
    levels: Range
    middle: int
    scales: Range
    mins: Range | None
    nbytes: int

    @property
    def wide(self) -> bool:
        """Whether a block has several sub-blocks: the K-types."""
        return self.block > self.group

    @property
    def bits_per_weight(self) -> float:
        """With scales and all."""
        return 8 * self.nbytes / self.block


_ONE = (1, 1)
GGML_TYPES = {
    kind.name: kind
    for kind in (
        GGMLType("Q2_K", 2, 256, 16, (0, 3), 0, (0, 15), (0, 15), 84),
        GGMLType("Q3_K", 3, 256, 16, (0, 7), 4, (-32, 31), None, 110),
        GGMLType("Q4_K", 4, 256, 32, (0, 15), 0, (0, 63), (0, 63), 144),
        GGMLType("Q5_K", 5, 256, 32, (0, 31), 0, (0, 63), (0, 63), 176),
        GGMLType("Q6_K", 6, 256, 16, (0, 63), 32, (-128, 127), None, 210),
        GGMLType("Q4_0", 4, 32, 32, (0, 15), 8, _ONE, None, 18),
        GGMLType("Q4_1", 4, 32, 32, (0, 15), 0, _ONE, _ONE, 20),
        GGMLType("Q5_0", 5, 32, 32, (0, 31), 16, _ONE, None, 22),
        GGMLType("Q5_1", 5, 32, 32, (0, 31), 0, _ONE, _ONE, 24),
        GGMLType("Q8_0", 8, 32, 32, (1, 255), 128, _ONE, None, 34),
    )
}
"""Name -> type, of those that weights can be quantized into."""


@dataclass(frozen=True)
class GGMLFormat(Format):
    """A block type of ggml.

    Args:
        kind: its name; a key of `GGML_TYPES`.
    """

    kind: str = "Q4_K"

    @classmethod
    def of(cls, kind: str) -> GGMLFormat:
        """The format of a type."""
        found = GGML_TYPES[kind]
        return cls(found.bits, found.group, kind)

    @property
    def symmetric(self) -> bool:
        """Whether zero is a level of every sub-block."""
        return GGML_TYPES[self.kind].mins is None

    def __str__(self) -> str:
        return f"{self.kind}, {GGML_TYPES[self.kind].bits_per_weight:.4g} bits a weight"


@dataclass(frozen=True)
class GGMLValues(Values):
    """A weight of `m` outputs and `n` inputs, a whole number of blocks a row.

    Args:
        levels (Tensor): uint8 [m, n].
        scales (Tensor): int8 [m, n / group].
        d (Tensor): fp16 [m, n / block].
        mins (Tensor): int8 [m, n / group]; None where the type has none.
        dmin (Tensor): fp16 [m, n / block]; None where the type has none.
        kind: a key of `GGML_TYPES`.
    """

    levels: Tensor
    scales: Tensor
    d: Tensor
    mins: Tensor | None
    dmin: Tensor | None
    kind: str

    @property
    def type(self) -> GGMLType:
        """The numbers of its type."""
        return GGML_TYPES[self.kind]

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs."""
        m, n = self.levels.shape
        return m, n

    def rows(self, start: int, stop: int) -> Tensor:
        """The weight of some outputs, exactly: fp32 [stop - start, n]."""
        kind, part = self.type, slice(start, stop)
        step = whole_steps(self.d[part], self.scales[part])
        found = self.levels[part].to(torch.float32, memory_format=torch.contiguous_format)
        groups = found.view(stop - start, -1, kind.group)
        groups.sub_(kind.middle).mul_(step[:, :, None])
        if self.mins is not None and self.dmin is not None:
            groups.sub_(whole_steps(self.dmin[part], self.mins[part])[:, :, None])
        return found


def whole_steps(of_blocks: Tensor, of_groups: Tensor) -> Tensor:
    """The product of a block's number and that of each of its sub-blocks.

    Args:
        of_blocks (Tensor): [m, blocks] in any float type.
        of_groups (Tensor): [m, groups], whole numbers.

    Returns:
        fp32 [m, groups].
    """
    many = of_groups.shape[1] // of_blocks.shape[1]
    return of_blocks.float().repeat_interleave(many, dim=1) * of_groups.float()
