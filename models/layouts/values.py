"""What a quantized weight is, whoever made it and however it is stored.

A method makes one of these, a layout packs it, and unpacking gives it back. Each says what its
weight is in fp32, exactly: that is what every reader of the checkpoint computes with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Self

import torch
from torch import Tensor

from tfcli.models.layouts.inputs import Inputs

_PIECE = 1 << 20
"""Weights that are dequantized at a time: their temporaries then stay in the processor's cache."""
_DEVICE_PIECE = 1 << 24
"""The same on a device, which waits for every piece to begin: 64 MB of temporaries in fp32."""


@dataclass(frozen=True)
class Format:
    """What a method makes of a weight, without the weight: one subclass for each kind of values.

    Args:
        bits: of a weight, without its share of scales.
        group_size: consecutive inputs that share a scale; -1 for all of them.
        inputs: how the inputs of the linear are rounded when it runs; None where they are not.
    """

    bits: int
    group_size: int = 128
    inputs: Inputs | None = field(default=None, kw_only=True)

    def width(self, in_features: int) -> int:
        """Inputs in a group of a linear with `in_features` inputs."""
        return in_features if self.group_size == -1 else self.group_size

    def uneven(self, in_features: int) -> bool:
        """Whether groups of this size do not divide so many inputs."""
        return self.group_size != -1 and in_features % self.group_size != 0

    def misfit(self, in_features: int, out_features: int) -> str | None:
        """Why a weight of these sizes has no such groups, such as `has 80 inputs, ...`."""
        if not self.uneven(in_features):
            return None
        return f"has {in_features} inputs, not a multiple of group_size {self.group_size}"

    def __str__(self) -> str:
        groups = "one group a row" if self.group_size == -1 else f"groups of {self.group_size}"
        return f"{self.bits} bits, {groups}"


@dataclass(frozen=True)
class AffineFormat(Format):
    """Levels of whole numbers with a scale and a zero point for each group.

    Args:
        symmetric: every zero point is the middle level.
    """

    symmetric: bool = True

    @property
    def top(self) -> int:
        """The highest level."""
        return (1 << self.bits) - 1

    def __str__(self) -> str:
        return f"{super().__str__()}, {'symmetric' if self.symmetric else 'asymmetric'}"


@dataclass(frozen=True)
class Values(ABC):
    """A quantized weight of `m` outputs and `n` inputs."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs."""

    @abstractmethod
    def rows(self, start: int, stop: int) -> Tensor:
        """The weight of the outputs `start` to `stop`, exactly: fp32 [stop - start, n]."""

    def equals(self, other: Values) -> bool:
        """Whether two are the same values, whatever the types that hold them."""
        if type(self) is not type(other) or self.shape != other.shape:
            return False
        for each in fields(self):
            one, two = getattr(self, each.name), getattr(other, each.name)
            if isinstance(one, Tensor) and isinstance(two, Tensor):
                same = _same(one, two)
            else:
                same = one is two if isinstance(one, Tensor) else bool(one == two)
            if not same:
                return False
        return True

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return next(tensor for tensor in vars(self).values() if isinstance(tensor, Tensor)).device

    def to(self, device: torch.device | str) -> Self:
        """The same on a device."""
        moved = {
            each.name: value.to(device)
            for each in fields(self)
            if isinstance(value := getattr(self, each.name), Tensor)
        }
        return replace(self, **moved)

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The weight, [m, n]: computed in fp32 and rounded once to `dtype`."""
        m, n = self.shape
        out = torch.empty(m, n, dtype=dtype, device=self.device)
        piece = _PIECE if self.device.type == "cpu" else _DEVICE_PIECE
        step = max(1, piece // n)
        for start in range(0, m, step):
            stop = min(start + step, m)
            out[start:stop] = self.rows(start, stop)
        return out


def _same(one: Tensor, two: Tensor) -> bool:
    """Whether two tensors have the same numbers, whatever their types."""
    if one.shape != two.shape:
        return False
    if one.ndim < 2 or not one.numel():
        return bool((one == two).all())
    step = max(1, _PIECE // one[0].numel())
    both = zip(one.split(step), two.split(step), strict=True)
    return all(bool((a == b).all()) for a, b in both)


@dataclass(frozen=True)
class Leveled(Values):
    """A weight with a number for each of its own.

    Args:
        levels (Tensor): [m, n] of whole numbers.
    """

    levels: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs."""
        m, n = self.levels.shape
        return m, n


@dataclass(frozen=True)
class Affine(Leveled):
    """weight[o, i] = (levels[o, i] - zeros[o, g]) * scales[o, g], g being the group of input i.

    Args:
        levels (Tensor): uint8 [m, n].
        scales (Tensor): [m, groups] in any float type; fp32 has the same values.
        zeros (Tensor): [m, groups], whole numbers or floats.
        bits: of a level.
        group_size: inputs of a group; the last group may have fewer.
        group_index (Tensor): int32 [n], the group of each input; None where groups are runs of
            neighbours.
    """

    scales: Tensor
    zeros: Tensor
    bits: int
    group_size: int
    group_index: Tensor | None = None

    def rows(self, start: int, stop: int) -> Tensor:
        """The weight of some outputs, exactly: fp32 [stop - start, n]."""
        part = slice(start, stop)
        scales, zeros = self.scales[part].float(), self.zeros[part].float()
        found = self.levels[part].to(torch.float32, memory_format=torch.contiguous_format)
        if self.group_index is None and found.shape[1] % self.group_size == 0:
            groups = found.view(stop - start, -1, self.group_size)
            groups.sub_(zeros[:, :, None]).mul_(scales[:, :, None])
            return found
        index = self.index.long()
        return found.sub_(zeros[:, index]).mul_(scales[:, index])

    @classmethod
    def stacked(cls, parts: Sequence[Affine]) -> Affine:
        """One weight whose outputs are those of all parts, which have the same groups."""
        return replace(
            parts[0],
            levels=torch.cat([part.levels for part in parts]),
            scales=torch.cat([part.scales for part in parts]),
            zeros=torch.cat([part.zeros for part in parts]),
        )

    @property
    def index(self) -> Tensor:
        """The group of each input: int32 [n]."""
        if self.group_index is not None:
            return self.group_index
        return runs(self.shape[1], self.group_size).to(self.levels.device)


def runs(in_features: int, group_size: int) -> Tensor:
    """The group of each input where groups are runs of neighbours: int32 [in_features].

    Args:
        in_features: how many inputs.
        group_size: inputs of a group; -1 is one group for all.
    """
    size = in_features if group_size == -1 else group_size
    return torch.arange(in_features, dtype=torch.int32) // size
