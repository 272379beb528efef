"""The layout of EETQ: 8 bits with a scale for each output, in the order of a GPU's kernel. It is
read.

For a linear with `n` inputs and `m` outputs:

    weight          int8   [n, m]   m * n bytes; see `in_order`
    weight_scales   fp16   [m]

    weight = (byte - 128) * scale

The shape of `weight` is that of the matrix, and its bytes are in no such order: EETQ permutes them
for NVIDIA's GPUs from Turing on (compute capability 7.5 to 8.9), which all have the same order. The
file does not say for which it was made, and one that was made on Volta reads as another matrix.

Source: EETQ 465e972, `csrc/cutlass_kernels/cutlass_preprocessors.cc`
(preprocess_weights_for_mixed_gemm), `cutlass_extensions/gemm/kernel/mixed_gemm_B_layout.h`;
transformers 5.23, `EetqConfig` and `integrations/eetq.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from tfcli.models.layouts.errors import refused
from tfcli.models.layouts.layout import ReadLayout
from tfcli.models.layouts.packing import Packing, Part, ShapeOf
from tfcli.models.layouts.skipping import fitting, read_names, skips, without_tied
from tfcli.models.layouts.values import Affine, AffineFormat

if TYPE_CHECKING:
    from tfcli.models.model import Model

_TILE = 64
"""Inputs that lie together, of two outputs in turn."""
_ROWS = 16
"""Inputs that one instruction of the GPU multiplies, in `_ORDER`."""
_ORDER = (0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15)
_MIDDLE = 128


@dataclass(frozen=True)
class EETQPacking(Packing):
    """The tensors of a linear."""

    main: ClassVar[str] = "weight"
    sign: ClassVar[str | None] = "weight_scales"

    @property
    def format(self) -> AffineFormat:
        """What it stores."""
        return AffineFormat(8, -1)

    def parts(self, in_features: int, out_features: int) -> dict[str, Part]:
        """What the weight becomes."""
        return {
            "weight": Part(torch.int8, (in_features, out_features)),
            "weight_scales": Part(torch.float16, (out_features,)),
        }

    def features(self, shape: ShapeOf) -> tuple[int, int]:
        """Inputs and outputs of a linear."""
        in_features, out_features = shape("weight")
        return in_features, out_features

    def unpack(self, parts: Mapping[str, Tensor]) -> Affine:
        """The values of the parts."""
        scales = parts["weight_scales"][:, None]
        zeros = torch.full_like(scales, _MIDDLE, dtype=torch.uint8)
        return Affine(in_order(parts["weight"]), scales, zeros, 8, len(parts["weight"]))

    def misfit(self, in_features: int, out_features: int) -> str | None:
        """Why a linear of these sizes cannot be stored so."""
        if in_features % _TILE or out_features % _TILE:
            sizes = f"has {in_features} inputs and {out_features} outputs"
            return f"{sizes}, and EETQ's order is of multiples of {_TILE}"
        return None


def in_order(stored: Tensor) -> Tensor:
    """The bytes as a matrix, whose steps EETQ takes in the other order.

    Args:
        stored (Tensor): int8 [n, m], both multiples of 64.

    Returns:
        uint8 [m, n], 128 more than the levels
    """
    n, m = stored.shape
    words = stored.contiguous().view(torch.uint8).view(-1, 4)[:, [0, 2, 1, 3]]
    tiles = words.reshape(m // 2, n // _TILE, 2, _TILE)
    columns = tiles.transpose(1, 2).reshape(m, n // _ROWS, _ROWS)
    return columns[:, :, torch.tensor(_ORDER).argsort()].reshape(m, n)


@dataclass(frozen=True)
class EETQLayout(ReadLayout):
    """A quantization_config with quant_method "eetq".

    Args:
        skip: names and patterns of what stays as it is.
    """

    quant_method: ClassVar[str] = "eetq"
    shown_by: ClassVar[tuple[str, ...]] = (".weight_scales",)

    skip: tuple[str, ...] = ()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> EETQLayout:
        """Read a quantization_config."""
        if config.get("weights", "int8") != "int8":
            raise refused("weights", config["weights"], ["int8"])
        skip = read_names("modules_to_not_convert", config.get("modules_to_not_convert"))
        return cls(skip or ())

    @property
    def usual(self) -> EETQPacking:
        """How linears are packed."""
        return EETQPacking()

    def packing_of(self, name: str) -> EETQPacking | None:
        """How a linear is packed."""
        return None if skips(self.skip, name) else EETQPacking()

    def linears(self, model: Model) -> dict[str, Packing]:
        """The linears that the config does not skip and whose sizes EETQ has; what is tied to a
        table is none of them."""
        return without_tied(model, fitting(model, super().linears(model)))
