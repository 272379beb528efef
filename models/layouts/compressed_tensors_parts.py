"""What the packings of compressed-tensors have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tfcli.models.errors import ModelError
from tfcli.models.layouts.inputs import Inputs
from tfcli.models.layouts.packing import Packing, Part


@dataclass(frozen=True)
class CompressedPacking(Packing):
    """How one linear is stored; `compression` is the name of it in the config.

    Args:
        inputs: how inputs are rounded before the product.
    """

    compression: ClassVar[str]

    inputs: Inputs | None = None

    @property
    def input_parts(self) -> dict[str, Part]:
        """The number that is stored for the inputs."""
        stored = None if self.inputs is None else self.inputs.stored
        return {} if stored is None else {stored: Part(torch.float32, (1,))}

    def verify(self, parts: Mapping[str, Tensor], name: str) -> None:
        """Refuse a scale of inputs that is not above 0."""
        super().verify(parts, name)
        for part in self.input_parts:
            if not (parts[part] > 0).all():
                raise ModelError("a scale of inputs is not above 0", where=f"{name}.{part}")


def middle(bits: int) -> int:
    """The level that the library counts as 0."""
    return 1 << (bits - 1)


def scale_part(tensor: bool, out_features: int, groups: int, dtype: torch.dtype) -> Part:
    """The scales of rows or groups, or the one scale of a tensor."""
    if tensor:
        return Part(dtype, (1,))
    return Part(dtype, (out_features, groups))


def spread(scales: Tensor, rows: int) -> Tensor:
    """One scale for all as one for each row, [m, 1]; those of rows and groups as they are."""
    return scales.view(1, 1).expand(rows, 1) if scales.numel() == 1 else scales


def whole(zeros: Tensor, bits: int) -> Tensor:
    """Zero points as uint8.

    Raises:
        ValueError: they are no levels.
    """
    levels = zeros.to(torch.uint8)
    if not torch.equal(levels.float(), zeros.float()) or int(levels.max()) >= 1 << bits:
        raise ValueError("zero points that are no levels")
    return levels


def affine_misfit(in_features: int, group_size: int) -> str | None:
    """Why a linear cannot have groups of a size."""
    if group_size > 0 and in_features % group_size:
        return f"has {in_features} inputs, which groups of {group_size} do not divide"
    return None
