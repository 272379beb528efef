"""How one linear's weight is stored: the tensors that it becomes, and the way there and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tfcli.models.errors import ModelError
from tfcli.models.layouts.inputs import Inputs
from tfcli.models.layouts.values import Format, Values

Shape = tuple[int, ...]
ShapeOf = Callable[[str], Shape]
"""The shape of a part, as a checkpoint holds it; a KeyError where it does not."""


@dataclass(frozen=True)
class Part:
    """One of the tensors that a weight becomes.

    Args:
        dtype: as it is written. Of a part with floats any float type is read, and kept.
        shape: its shape.
    """

    dtype: torch.dtype
    shape: Shape

    def takes(self, dtype: torch.dtype) -> bool:
        """Whether a stored tensor of a type can be this part."""
        if self.dtype.is_floating_point and self.dtype.itemsize > 1:
            return dtype.is_floating_point and dtype.itemsize > 1
        return dtype == self.dtype

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

    @property
    @abstractmethod
    def format(self) -> Format:
        """What it stores."""

    @property
    def inputs(self) -> Inputs | None:
        """How the inputs of the linear are rounded before the product; None: they are not."""
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

    @abstractmethod
    def pack(self, values: Values) -> dict[str, Tensor]:
        """The parts of a weight, on its device.

        Raises:
            ValueError: the values are not of this format.
        """

    @abstractmethod
    def unpack(self, parts: Mapping[str, Tensor]) -> Values:
        """Undo `pack`."""

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
