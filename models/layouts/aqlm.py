"""The layout of AQLM: sums of vectors from codebooks that all of a weight shares. It is read.

A weight of `m` outputs and `n` inputs is cut into blocks of `a` outputs and `b` inputs. For each
there is a code of every codebook, and it is the sum of the vectors that these stand for:

    codes       int8 or int16 [m/a, n/b, books]     modulo 2**bits
    codebooks   float         [books, 2**bits, a, b]
    scales      float         [m/a, 1, 1, 1]

    block[o, i] = scales[o] * sum over c of codebooks[c, codes[o, i, c]]

Source: aqlm 1.1.7, `utils.py` (_dequantize_weight, unpack_int_data), `inference.py`; transformers
5.23, `AqlmConfig` and `integrations/aqlm.py`.
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
from tfcli.models.layouts.skipping import read_names, skips, without_tied
from tfcli.models.layouts.values import Format, Values

if TYPE_CHECKING:
    from tfcli.models.model import Model

_MOST_BITS = 16
"""Of a code: more have no type here, and a codebook of 2**16 vectors is what AQLM was made for."""
_MOST = 1024
"""Codebooks, and outputs and inputs of a block: far beyond what is published."""
_SKIPPED = "linear_weights_not_to_quantize"


@dataclass(frozen=True)
class AdditiveFormat(Format):
    """Sums of vectors; `bits` are those of a weight, rounded up, `group_size` inputs of a block.

    Args:
        outputs: of a block.
        books: vectors that are added.
        code_bits: bits of a code.
    """

    outputs: int = 1
    books: int = 1
    code_bits: int = 16

    def __str__(self) -> str:
        block = f"{self.outputs} x {self.group_size}"
        return f"sums of {self.books} vectors of {block}, codes of {self.code_bits} bits"


@dataclass(frozen=True)
class Additive(Values):
    """weight[o, i] = scales[o // a] * sum of codebooks[c, codes[o // a, i // b, c], o % a, i % b].

    Args:
        codes (Tensor): [m/a, n/b, books], in a type that has their bits with a sign.
        codebooks (Tensor): [books, 2**bits, a, b] in any float type.
        scales (Tensor): [m/a].
    """

    codes: Tensor
    codebooks: Tensor
    scales: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs."""
        *_, a, b = self.codebooks.shape
        return len(self.codes) * a, self.codes.shape[1] * b

    def rows(self, start: int, stop: int) -> Tensor:
        """The weight of some outputs, added and scaled in fp32: [stop - start, n]."""
        books, size, a, b = self.codebooks.shape
        first, last = start // a, -(-stop // a)
        codes = self.codes[first:last].long().remainder_(size)
        found = torch.zeros(*codes.shape[:2], a, b, device=self.codes.device)
        for book in range(books):
            found += self.codebooks[book].float()[codes[:, :, book]]
        found *= self.scales[first:last].float()[:, None, None, None]
        whole = found.transpose(1, 2).reshape((last - first) * a, -1)
        return whole[start - first * a : stop - first * a]


@dataclass(frozen=True)
class AQLMPacking(Packing):
    """The tensors of a linear.

    Args:
        in_group: inputs of a block.
        out_group: outputs of a block.
        books: codebooks.
        code_bits: bits of a code.
    """

    main: ClassVar[str] = "codes"
    sign: ClassVar[str | None] = "codes"

    in_group: int = 8
    out_group: int = 1
    books: int = 1
    code_bits: int = 16

    @property
    def format(self) -> AdditiveFormat:
        """What it stores."""
        bits = -(-self.books * self.code_bits // (self.in_group * self.out_group))
        return AdditiveFormat(bits, self.in_group, self.out_group, self.books, self.code_bits)

    def parts(self, in_features: int, out_features: int) -> dict[str, Part]:
        """What the weight becomes."""
        rows, columns = out_features // self.out_group, in_features // self.in_group
        whole = torch.int8 if self.code_bits <= 8 else torch.int16
        book = (self.books, 1 << self.code_bits, self.out_group, self.in_group)
        return {
            "codes": Part(whole, (rows, columns, self.books)),
            "codebooks": Part(torch.float16, book),
            "scales": Part(torch.float16, (rows, 1, 1, 1)),
        }

    def features(self, shape: ShapeOf) -> tuple[int, int]:
        """Inputs and outputs of a linear."""
        rows, columns, _ = shape("codes")
        return columns * self.in_group, rows * self.out_group

    def unpack(self, parts: Mapping[str, Tensor]) -> Additive:
        """The values of the parts."""
        return Additive(parts["codes"], parts["codebooks"], parts["scales"].reshape(-1))

    def misfit(self, in_features: int, out_features: int) -> str | None:
        """Why a linear of these sizes cannot be stored so."""
        if in_features % self.in_group or out_features % self.out_group:
            return (
                f"has {in_features} inputs and {out_features} outputs, which blocks of "
                f"{self.in_group} and {self.out_group} do not divide"
            )
        return None


@dataclass(frozen=True)
class AQLMLayout(ReadLayout):
    """A quantization_config with quant_method "aqlm".

    Args:
        packing: of every linear that is not skipped.
        skip: names of weights and modules that stay as they are.
    """

    quant_method: ClassVar[str] = "aqlm"
    shown_by: ClassVar[tuple[str, ...]] = (".codes",)

    packing: AQLMPacking
    skip: tuple[str, ...] = ()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> AQLMLayout:
        """Read a quantization_config."""
        packing = AQLMPacking(
            _count(config, "in_group_size", 8, _MOST),
            _count(config, "out_group_size", 1, _MOST),
            _count(config, "num_codebooks", 1, _MOST),
            _count(config, "nbits_per_codebook", 16, _MOST_BITS),
        )
        return cls(packing, read_names(_SKIPPED, config.get(_SKIPPED)) or ())

    @property
    def usual(self) -> AQLMPacking:
        """How linears are packed."""
        return self.packing

    def packing_of(self, name: str) -> AQLMPacking | None:
        """How a linear is packed. Its weight or the module itself may be named."""
        skipped = f"{name}.weight" in self.skip or skips(self.skip, name)
        return None if skipped else self.packing

    def linears(self, model: Model) -> dict[str, Packing]:
        """The linears that the config does not skip; what is tied to a table is none of them."""
        return without_tied(model, super().linears(model))


def _count(config: Mapping[str, Any], key: str, default: int, most: int) -> int:
    value = config.get(key, default)
    if type(value) is not int or not 1 <= value <= most:
        raise refused(key, value, [f"1 to {most}"])
    return value
