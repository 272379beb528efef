"""Levels with a scale and an offset for each group, as MLX stores them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tfcli.models.layouts.values import Affine, Leveled

_SHORT = (torch.float16, torch.bfloat16)
"""fp32 has the products of their numbers and 8-bit levels."""


@dataclass(frozen=True)
class Offset(Leveled):
    """weight[o, i] = levels[o, i] * scales[o, g] + offsets[o, g], g being the group of input i.

    Args:
        levels (Tensor): uint8 [m, n].
        scales (Tensor): [m, groups] in any float type; fp32 has the same values.
        offsets (Tensor): the same.
        bits: of a level.
        group_size: inputs of a group.
    """

    scales: Tensor
    offsets: Tensor
    bits: int
    group_size: int

    @classmethod
    def of(cls, values: Affine) -> Offset:
        """The same weight as levels with zero points, in fp32.

        (level - zero) * scale is level * scale - zero * scale: exactly so where fp32 has the
        products, as of scales in fp16 and zero points that are levels.

        Raises:
            ValueError: groups are no runs of inputs.
        """
        if values.group_index is not None:
            raise ValueError("groups that are no runs of inputs")
        offsets = -(values.zeros.float() * values.scales.float())
        return cls(values.levels, values.scales, offsets, values.bits, values.group_size)

    def rows(self, start: int, stop: int) -> Tensor:
        """The weight of some outputs: fp32 [stop - start, n]."""
        part = slice(start, stop)
        found = self.levels[part].to(torch.float32, memory_format=torch.contiguous_format)
        groups = found.view(stop - start, -1, self.group_size)
        groups.mul_(self.scales[part].float()[:, :, None])
        groups.add_(self.offsets[part].float()[:, :, None])
        return found

    def affine(self) -> Affine | None:
        """The same weight as levels with zero points; None where an offset is no whole number of
        steps that a level could be, or where fp32 would round the products."""
        scales, offsets = self.scales.float(), self.offsets.float()
        if not any(torch.equal(scales.to(short).float(), scales) for short in _SHORT):
            return None
        zeros = (-offsets / torch.where(scales == 0, 1.0, scales)).round_()
        same = torch.equal(-(zeros * scales), offsets)
        if not same or int(zeros.min()) < 0 or int(zeros.max()) >= 1 << self.bits:
            return None
        whole = zeros.to(torch.uint8)
        return Affine(self.levels, self.scales, whole, self.bits, self.group_size)
