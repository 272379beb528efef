"""Weights that are entries of a table, times a scale for each block of neighbours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from tfcli.models.layouts.values import Format, Values


@dataclass(frozen=True)
class CodebookFormat(Format):
    """Entries of a table, in blocks that run on from row to row.

    `group_size` counts the neighbours that share a scale; rows need not be a multiple of it.

    Args:
        table: name of the table, such as nf4.
        nested: the scales are entries of a table again.
    """

    table: str = "nf4"
    nested: bool = False

    def misfit(self, in_features: int, out_features: int) -> str | None:
        """Blocks run on: every weight has them."""
        return None

    def __str__(self) -> str:
        scales = ", quantized scales" if self.nested else ""
        return f"{self.table}, blocks of {self.group_size}{scales}"


@dataclass(frozen=True, eq=False)
class Nested:
    """Scales that are quantized again: scale[i] = table[codes[i]] * scales[i // size] + offset.

    Args:
        codes (Tensor): uint8 [blocks].
        table (Tensor): fp32 [256].
        scales (Tensor): fp32 [ceil(blocks / size)].
        offset: added to all.
        size: scales that share one of theirs.
    """

    codes: Tensor
    table: Tensor
    scales: Tensor
    offset: float
    size: int

    def part(self, start: int, stop: int) -> Tensor:
        """The scales `start` to `stop`: fp32."""
        found = self.table[self.codes[start:stop].long()]
        return found.mul_(_spread(self.scales, self.size, start, stop)).add_(self.offset)

    def __eq__(self, other: object) -> bool:
        """Whether all numbers are the same."""
        return (
            isinstance(other, Nested)
            and (self.offset, self.size) == (other.offset, other.size)
            and all(
                torch.equal(one, two)
                for one, two in zip(self._tensors, other._tensors, strict=True)
            )
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def _tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.codes, self.table, self.scales

    def to(self, device: torch.device | str) -> Nested:
        """The same on a device."""
        codes, table, scales = (tensor.to(device) for tensor in self._tensors)
        return Nested(codes, table, scales, self.offset, self.size)


@dataclass(frozen=True)
class Codebook(Values):
    """weight[i] = table[codes[i]] * scales[i // block_size], i counting through all rows.

    Args:
        codes (Tensor): uint8 [m, n].
        table (Tensor): fp32, one number for each code.
        scales: fp32 [ceil(m * n / block_size)], or how they are quantized.
        block_size: weights that share a scale.
        made_of: the type of the weight that was quantized.
    """

    codes: Tensor
    table: Tensor
    scales: Tensor | Nested
    block_size: int
    made_of: torch.dtype = torch.float32

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs."""
        m, n = self.codes.shape
        return m, n

    def rows(self, start: int, stop: int) -> Tensor:
        """The weight of some outputs, exactly: fp32 [stop - start, n]."""
        n = self.shape[1]
        first, last = start * n, stop * n
        block = first // self.block_size
        blocks = slice(block, -(-last // self.block_size))
        held = self.scales
        scales = held.part(blocks.start, blocks.stop) if isinstance(held, Nested) else held[blocks]
        begun = block * self.block_size
        found = self.table[self.codes[start:stop].int()]
        wide = _spread(scales.float(), self.block_size, first - begun, last - begun)
        return found.mul_(wide.view(found.shape))

    def to(self, device: torch.device | str) -> Self:
        """The same on a device."""
        return replace(super().to(device), scales=self.scales.to(device))


def _spread(scales: Tensor, size: int, start: int, stop: int) -> Tensor:
    """The scale of each of the items `start` to `stop`, `size` of which share one."""
    first = start // size
    wide = scales[first : -(-stop // size)].repeat_interleave(size)
    return wide[start - first * size : stop - first * size]
