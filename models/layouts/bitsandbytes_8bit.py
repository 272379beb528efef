"""bitsandbytes in 8 bits, LLM.int8(): levels with a sign, and the largest weight of each output.

For a linear with `n` inputs and `m` outputs:

    weight          int8 [m, n]    level = round(127 * weight / SCB)
    SCB             fp32 [m]       the largest weight of each output
    weight_format   uint8 []       0: rows as they are

Source: bitsandbytes 0.50, `nn/modules.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tfcli.models.errors import ModelError
from tfcli.models.layers import llm_int8
from tfcli.models.layouts.inputs import Rounding
from tfcli.models.layouts.packing import Packing, Part, ShapeOf
from tfcli.models.layouts.values import Format, Leveled, Values

THRESHOLD = 6.0
"""Inputs from here on are outliers, where the config does not say."""


@dataclass(frozen=True)
class RowFormat(Format):
    """Levels of 8 bits with a sign, and the largest weight of each output.

    Args:
        threshold: inputs from here on are multiplied in their own type; 0 for none.
    """

    bits: int = 8
    group_size: int = -1
    threshold: float = THRESHOLD

    def __str__(self) -> str:
        return "8 bits, one scale a row"


@dataclass(frozen=True)
class Rows(Leveled):
    """weight[o, i] = levels[o, i] * largest[o] / 127.

    Args:
        levels (Tensor): int8 [m, n].
        largest (Tensor): fp32 [m].
    """

    largest: Tensor

    def rows(self, start: int, stop: int) -> Tensor:
        """The weight of some outputs, rounded as bitsandbytes does: fp32 [stop - start, n]."""
        part = slice(start, stop)
        scaled = self.levels[part].float().mul_(self.largest[part].float()[:, None])
        return scaled.mul_(llm_int8.RECIPROCAL)


@dataclass(frozen=True)
class OutlierInputs(Rounding):
    """LLM.int8()'s: each row in 8 bits, but for the columns of outliers.

    Its product sums whole numbers, which a 16-bit type does not hold when they are scaled; so it is
    no dense layer's. Gradients pass inputs as they are, as in bitsandbytes.

    Args:
        threshold: values from here on are outliers; 0 for none.
    """

    dense: ClassVar[bool] = False

    threshold: float

    def round(self, x: Tensor, stored: Tensor | None = None) -> Tensor:
        """x as the product sees it; see `Rounding`."""
        if _passes(x):
            return x
        flat = x.reshape(-1, x.shape[-1])
        levels, largest, outliers = llm_int8.round_inputs(flat.half(), self.threshold)
        rounded = (levels * (largest / llm_int8.LEVELS)[:, None]).to(x.dtype)
        if outliers is not None:
            rounded[:, outliers] = flat[:, outliers]
        return rounded.view(x.shape)

    def product(self, x: Tensor, parts: Mapping[str, Tensor], bias: Tensor | None) -> Tensor | None:
        """LLM.int8(); see `Rounding`."""
        if _passes(x):
            return None
        return llm_int8.product(x, parts["weight"], parts["SCB"], self.threshold, bias)


def _passes(x: Tensor) -> bool:
    """Whether inputs are taken as they are."""
    return x.numel() == 0 or (x.requires_grad and torch.is_grad_enabled())


@dataclass(frozen=True)
class EightBits(Packing):
    """The tensors of a linear in 8 bits.

    Args:
        threshold: inputs from here on are multiplied in their own type; 0 for none.
    """

    main: ClassVar[str] = "weight"
    sign: ClassVar[str | None] = "SCB"

    threshold: float = THRESHOLD

    @property
    def inputs(self) -> OutlierInputs:
        """How inputs are rounded."""
        return OutlierInputs(self.threshold)

    @property
    def format(self) -> RowFormat:
        """What it stores."""
        return RowFormat(threshold=self.threshold)

    def parts(self, in_features: int, out_features: int) -> dict[str, Part]:
        """What the weight becomes."""
        return {
            "weight": Part(torch.int8, (out_features, in_features)),
            "SCB": Part(torch.float32, (out_features,)),
            "weight_format": Part(torch.uint8, ()),
        }

    def features(self, shape: ShapeOf) -> tuple[int, int]:
        """Inputs and outputs of a linear."""
        out_features, in_features = shape("weight")
        return in_features, out_features

    def pack(self, values: Values) -> dict[str, Tensor]:
        """The tensors of a weight."""
        if not isinstance(values, Rows):
            raise ValueError("values that are no rows of 8 bits")
        rows_as_they_are = torch.zeros((), dtype=torch.uint8)
        return {"weight": values.levels, "SCB": values.largest, "weight_format": rows_as_they_are}

    def unpack(self, parts: Mapping[str, Tensor]) -> Rows:
        """Undo `pack`."""
        return Rows(parts["weight"], parts["SCB"])

    def left_out(self, part: str, in_features: int, out_features: int) -> Tensor | None:
        """Rows as they are, where nothing else is said."""
        return torch.zeros((), dtype=torch.uint8) if part == "weight_format" else None

    def verify(self, parts: Mapping[str, Tensor], name: str) -> None:
        """Refuse rows that are turned over for one device, as old versions wrote them."""
        super().verify(parts, name)
        if int(parts["weight_format"]) != 0:
            raise ModelError(
                f"{int(parts['weight_format'])} is not supported",
                where=f"{name}.weight_format",
                fix="supported: 0, rows as they are; save it with bitsandbytes 0.45 or newer",
            )
