"""How one linear's weight is stored: the tensors that it becomes, and the way there and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tfcli.models.errors import ModelError
from tfcli.models.layouts.inputs import Rounding
from tfcli.models.layouts.values import Format, Values

Shape = tuple[int, ...]
ShapeOf = Callable[[str], Shape]
"""The shape of a part, as a checkpoint holds it; a KeyError where it does not."""
PartOf = Callable[[str], Tensor]
"""A part itself, in the same way."""


def takes_shape(slot: Shape, shape: Shape) -> bool:
    """Whether a slot of a model takes a stored tensor of a shape; one without any size takes all
    with as many axes."""
    return shape == slot or (slot != () and not any(slot) and len(shape) == len(slot))


ROWS = 32
"""So many outputs, or a multiple of them, are unpacked alone: whole words of any width."""

_PIECE = 1 << 19
"""Weights that are unpacked at a time where a part of them will do."""

_MARKED = ("weight", "packing")


def buffer_of(part: str) -> str:
    """What a module calls the buffer of a part: names of buffers have no dots.

    `weight` has a mark as well, since a family's rules for dense weights, of which it is none,
    would turn it over; and so has what the module calls something else.
    """
    return f"{part}/" if part in _MARKED else part.replace(".", "/")


@dataclass(frozen=True)
class Part:
    """One of the tensors that a weight becomes.

    Args:
        dtype: as it is written. Of a part with floats any float type is read, and kept.
        shape: its shape, as it is written.
        open: it is read in other sizes too: only the checkpoint says them.
    """

    dtype: torch.dtype
    shape: Shape
    open: bool = False

    def takes(self, dtype: torch.dtype) -> bool:
        """Whether a stored tensor of a type can be this part."""
        if self.dtype.is_floating_point and self.dtype.itemsize > 1:
            return dtype.is_floating_point and dtype.itemsize > 1
        return dtype == self.dtype

    def fits(self, shape: Shape) -> bool:
        """Whether a stored tensor of a shape can be this part."""
        return len(shape) == len(self.shape) if self.open else tuple(shape) == self.shape

    def empty(self) -> Tensor:
        """What stands for it in a module until it is read; without values where it is open."""
        shape = (0,) * len(self.shape) if self.open else self.shape
        return torch.zeros(shape, dtype=self.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of it."""
        return self.dtype.itemsize * torch.Size(self.shape).numel()


@dataclass(frozen=True)
class Packing(ABC):
    """How the weight of one linear is stored.

    `main` is the part that holds the levels, by which a packed linear is known. A linear has `n`
    inputs and `m` outputs.
    """

    main: ClassVar[str]
    output_axes: ClassVar[Mapping[str, int]] = {}
    """Part -> the axis of outputs, where some of them can be unpacked alone; a part that is not
    named belongs to all."""
    sign: ClassVar[str | None] = None
    """A part without which a linear of a checkpoint is dense; None where the config alone says
    which are packed."""

    @property
    @abstractmethod
    def format(self) -> Format:
        """What it stores."""

    @property
    def inputs(self) -> Rounding | None:
        """How the inputs of the linear are rounded before the product; None: they are not."""
        return None

    @property
    def rows_of_bytes(self) -> tuple[str, str] | None:
        """The parts with int8 levels [m, n] and with one scale for each row, [m, 1], or for all;
        None where the weight is stored otherwise, or has zero points."""
        return None

    @abstractmethod
    def parts(self, in_features: int, out_features: int) -> dict[str, Part]:
        """What the weight becomes: part -> its type and shape, in the order of the file."""

    @abstractmethod
    def features(self, shape: ShapeOf) -> tuple[int, int]:
        """Inputs and outputs of a linear, from the shapes of its parts.

        Raises:
            KeyError, ValueError: a part is missing or has another number of axes.
        """

    def sizes(self, shape: ShapeOf, part: PartOf) -> tuple[int, int]:
        """Inputs and outputs of a linear of a checkpoint; only where shapes do not say it, from
        the parts themselves.

        Raises:
            KeyError, ValueError: as `features`.
        """
        return self.features(shape)

    def pack(self, values: Values) -> dict[str, Tensor]:
        """The parts of a weight, on its device.

        Raises:
            ValueError: the values are not of this format, or it is one that is only read.
        """
        raise ValueError("it is only read")

    @abstractmethod
    def unpack(self, parts: Mapping[str, Tensor]) -> Values:
        """Undo `pack`."""

    def unpack_pieces(self, parts: Mapping[str, Tensor]) -> Iterator[Values]:
        """The same for a few megabytes of outputs after the others, where they lie apart.

        Yields:
            values of a multiple of `ROWS` outputs, the last ones of fewer; or of all, where they do
            not.
        """
        n, m = self.sizes(lambda part: tuple(parts[part].shape), parts.__getitem__)
        step = max(1, _PIECE // max(n, 1) // ROWS) * ROWS
        axes = {
            name: axis
            for name, axis in self.output_axes.items()
            if name in parts and parts[name].shape[axis] > 1  # 1: a number for all
        }
        # A part whose outputs fill up its last word, or share numbers, has no place for each step.
        whole = any(min(step, m) * parts[name].shape[axis] % m for name, axis in axes.items())
        if not axes or whole:
            yield self.unpack(parts)
            return
        for start in range(0, m, step):
            stop = min(start + step, m)
            found = dict(parts)
            for name, axis in axes.items():
                size = parts[name].shape[axis]
                begin, end = start * size // m, stop * size // m
                found[name] = parts[name].narrow(axis, begin, end - begin)
            yield self.unpack(found)

    def misfit(self, in_features: int, out_features: int) -> str | None:
        """Why a linear of these sizes cannot be stored so, such as `has 80 inputs, ...`."""
        return None

    def left_out(self, part: str, in_features: int, out_features: int) -> Tensor | None:
        """The value of a part that a checkpoint need not hold; None for one that it must."""
        return None

    def has_runs(self, parts: Mapping[str, Tensor]) -> bool:
        """Whether groups are runs of neighbouring inputs, all of one width."""
        return True

    def verify(self, parts: Mapping[str, Tensor], name: str) -> None:
        """Check what the parts say against what the config declares.

        Args:
            parts: of the linear.
            name: its name, for errors.

        Raises:
            ModelError: values that this packing cannot have.
        """
        for part, value in parts.items():
            wide = value.is_floating_point() and value.dtype.itemsize > 1
            if part == self.main:
                continue  # bits of levels, which some layouts call floats
            if wide and not torch.isfinite(value).all():
                raise ModelError("a scale is not finite", where=f"{name}.{part}")

    def nbytes(self, in_features: int, out_features: int) -> int:
        """Bytes of the weight of a linear."""
        return sum(part.nbytes for part in self.parts(in_features, out_features).values())


def exactly(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Numbers in another type, which is to hold them as they are.

    Raises:
        ValueError: it does not.
    """
    cast = values.to(dtype)
    if not torch.equal(cast.float(), values.float()):
        raise ValueError(f"scales that {str(dtype).removeprefix('torch.')} does not hold")
    return cast
