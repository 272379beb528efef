"""Weights of small floats with scales: 8 bits by tensor, row or block, and 4 bits in short groups.

The numbers of the 4-bit type (e2m1) are all numbers of the 8-bit one (e4m3), so that one kind of
values serves both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tfcli.models.layouts.values import Format, Values


@dataclass(frozen=True)
class FloatFormat(Format):
    """Small floats with a scale for each block of outputs and inputs.

    Args:
        outputs: consecutive outputs that share a scale; -1 for all of them.
        scale: `float`; `e8m0`, powers of two; or `e4m3`, 8-bit floats over one number for the
            whole weight.
    """

    outputs: int = 1
    scale: Literal["float", "e8m0", "e4m3"] = "float"

    @property
    def kind(self) -> str:
        """The type of the values."""
        return "e4m3" if self.bits == 8 else "e2m1"

    def uneven(self, in_features: int) -> bool:
        """Whether groups do not divide so many inputs; blocks of several outputs may be cut off."""
        return self.outputs == 1 and super().uneven(in_features)

    def block(self, out_features: int, in_features: int) -> tuple[int, int]:
        """Outputs and inputs that share a scale, of a linear of these sizes."""
        return (out_features if self.outputs == -1 else self.outputs), self.width(in_features)

    def grid(self, out_features: int, in_features: int) -> tuple[int, int]:
        """How many blocks there are, along the outputs and the inputs; the last may be cut off."""
        height, width = self.block(out_features, in_features)
        return -(-out_features // height), -(-in_features // width)

    def __str__(self) -> str:
        if self.outputs == -1:
            shared = "one scale in all"
        elif self.outputs == 1:
            shared = "a scale a row" if self.group_size == -1 else f"groups of {self.group_size}"
        else:
            shared = f"blocks of {self.outputs} x {self.group_size}"
        return f"{self.bits}-bit floats, {shared}"


@dataclass(frozen=True)
class Scaled(Values):
    """weight[o, i] = values[o, i] * scales[o // height, i // width].

    Args:
        values (Tensor): float8_e4m3fn or float8_e5m2 [m, n].
        scales (Tensor): a number for each block, [m / height, n / width] rounded up, in any float
            type; fp32 has the same values.
        height: outputs of a block.
        width: inputs of a block.
        divisor (Tensor): fp32 [1]; the scales are those that are given over this one.
    """

    values: Tensor
    scales: Tensor
    height: int
    width: int
    divisor: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs."""
        m, n = self.values.shape
        return m, n

    def rows(self, start: int, stop: int) -> Tensor:
        """The weight of some outputs, each product rounded once: fp32 [stop - start, n]."""
        first = start // self.height
        scales = self.scales[first : -(-stop // self.height)].float()
        if self.divisor is not None:
            scales = scales / self.divisor
        block = torch.arange(start, stop, device=self.device) // self.height - first
        found, n = self.values[start:stop].float(), self.shape[1]
        if n % self.width == 0:
            groups = found.view(stop - start, -1, self.width)
            groups.mul_(scales[block, :, None])
            return found
        return found.mul_(scales[block].repeat_interleave(self.width, dim=1)[:, :n])
