"""Inputs of a linear that are rounded before the product, as W8A8 and its relatives declare.

`Rounding` is what a packing says of its inputs, and all that a layer asks. `Inputs` has scales: the
scale of a token, a tensor or a group is found when the model runs (dynamic), or it is stored
(static). Rounding follows compressed-tensors, whose files say so.
Source: https://github.com/vllm-project/compressed-tensors (`quantization/utils/helpers.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tfcli.models.layouts.elements import LARGEST, power_of_two, round_e2m1

Kind = Literal["int8", "e4m3", "e2m1"]
"""Types that inputs are rounded to."""


class Rounding(ABC):
    """How the inputs of a linear are rounded.

    Class attributes:
        dense: a dense layer of the dequantized weight, with inputs that `round` has rounded, gives
            the same in every type. Where not, the layer stays packed however many rows there are.
    """

    dense: ClassVar[bool] = True

    @property
    def stored(self) -> str | None:
        """The name of the tensor that is stored beside the weight, with one number."""
        return None

    @abstractmethod
    def round(self, x: Tensor, stored: Tensor | None = None) -> Tensor:
        """x as the product sees it, in its type and shape.

        Args:
            x (Tensor): [..., n]
            stored (Tensor): the number that `self.stored` names.
        """

    def product(self, x: Tensor, parts: Mapping[str, Tensor], bias: Tensor | None) -> Tensor | None:
        """A linear's output, [..., m], where it is not the product of `round(x)` and the
        dequantized weight; None where it is.

        Args:
            x (Tensor): [..., n]
            parts: what the weight is stored in.
            bias (Tensor): [m]
        """
        return None


@dataclass(frozen=True)
class Inputs(Rounding):
    """How the inputs of a linear are rounded.

    Args:
        kind: the type of the rounded values.
        per: which of them share a scale: a token's, all, or a group of a token's.
        group_size: consecutive inputs of a group; None without groups.
        static: the scale of all inputs is stored, as `input_scale`.
        scale: `float`; `e8m0`, powers of two; or `e4m3` times a number that is stored for all
            inputs, as `input_global_scale`.
        symmetric: 0 is the middle level; else each scale has a zero point, which is found when the
            model runs, as torchao does: of int8 with a scale a token alone.
    """

    kind: Kind
    per: Literal["token", "tensor", "group"] = "token"
    group_size: int | None = None
    static: bool = False
    scale: Literal["float", "e8m0", "e4m3"] = "float"
    symmetric: bool = True

    @property
    def stored(self) -> str | None:
        """The name of the tensor that is stored beside the weight, with one number."""
        if self.scale == "e4m3":
            return "input_global_scale"
        return "input_scale" if self.static else None

    def quantize(self, x: Tensor, stored: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Rounded values and their scales, in fp32: x is about values * scales.

        Values of inputs that are not symmetric are counted from their zero point.

        Args:
            x (Tensor): [..., n]; with groups of g inputs it is taken as [..., n / g, g].
            stored (Tensor): the number that `self.stored` names.
        """
        x = x.float()
        if not self.symmetric:
            return _between_extremes(x)
        grouped = x.unflatten(-1, (-1, self.group_size)) if self.per == "group" else x
        scales = self._scales(grouped, stored)
        values = grouped / scales
        if self.kind == "int8":
            values = values.clamp_(-128, 127).round_()
        elif self.kind == "e4m3":
            top = LARGEST["e4m3"]
            values = values.clamp_(-top, top).to(torch.float8_e4m3fn).float()
        else:
            values = round_e2m1(values)
        return values, scales

    def round(self, x: Tensor, stored: Tensor | None = None) -> Tensor:
        """x as the product sees it. Gradients pass as if nothing were rounded.

        Args:
            x (Tensor): [..., n]
            stored (Tensor): as for `quantize`.
        """
        if not x.numel():
            return x
        values, scales = self.quantize(x.detach(), stored)
        rounded = (values * scales).to(x.dtype).view(x.shape)
        return rounded + (x - x.detach()) if x.requires_grad else rounded

    def _scales(self, x: Tensor, stored: Tensor | None) -> Tensor:
        if self.static:
            assert stored is not None, "a packing keeps what its inputs store"
            return stored.float()
        most = x.abs().amax() if self.per == "tensor" else x.abs().amax(-1, keepdim=True)
        if self.scale == "e8m0":
            return power_of_two(most, self.kind)
        # The least and the greatest int8 are 255 steps apart.
        scales = most / (127.5 if self.kind == "int8" else LARGEST[self.kind])
        if self.scale == "e4m3":
            assert stored is not None, "a packing keeps what its inputs store"
            scales = (scales * stored).to(torch.float8_e4m3fn).float()
            return torch.where(scales == 0, 0.125, scales) / stored
        return torch.where(scales == 0, torch.finfo(torch.float32).eps, scales)


def _between_extremes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Levels of int8 that reach from the least input of a token, or 0, to the greatest.

    Source: torchao 0.18, `quant_primitives.py` (choose_qparams_affine, quantize_affine).

    Returns:
        levels less their zero point, -255 to 255, and the scale of each token
    """
    low, high = x.amin(-1, keepdim=True).clamp_(max=0), x.amax(-1, keepdim=True).clamp_(min=0)
    scales = ((high - low) / 255).clamp_(min=torch.finfo(torch.float32).eps)
    zeros = (-128 - torch.round(low / scales)).clamp_(-128, 127)
    levels = (torch.round(x * (1.0 / scales)) + zeros).clamp_(-128, 127)
    return levels - zeros, scales
