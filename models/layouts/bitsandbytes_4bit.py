"""bitsandbytes in 4 bits: entries of a table, two in a byte, with a scale for each block.

For a linear with `n` inputs and `m` outputs (`nf4`, `fp4`) with blocks of 64 that run on from row
to row:

    weight                                 uint8 [ceil(m*n/2), 1]   two codes a byte, the first high
    weight.absmax                          fp32 [blocks], or uint8 where the scales are quantized
    weight.quant_map                       fp32 [16]                the table
    weight.nested_absmax                   fp32 [ceil(blocks/256)]  scales of the scales
    weight.nested_quant_map                fp32 [256]               the table of the scales
    weight.quant_state.bitsandbytes__nf4   uint8                    sizes and the rest, as JSON

Source: bitsandbytes 0.50, `functional.py` (QuantState) and `nn/modules.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tfcli.models.errors import ModelError
from tfcli.models.layouts.bitsandbytes_state import State
from tfcli.models.layouts.codebook import Codebook, CodebookFormat, Nested
from tfcli.models.layouts.packing import Packing, Part, PartOf, ShapeOf
from tfcli.models.layouts.values import Values

NESTED_SIZE = 256
"""Scales that share a scale of theirs."""

STORAGE = {
    name: getattr(torch, name)
    for name in ("uint8", "int8", "float16", "bfloat16", "float32", "float64")
}
"""bnb_4bit_quant_storage: what the bytes of two codes are called in the file."""

_STATE = "weight.quant_state.bitsandbytes__"
_LONGEST_NUMBER = 1.1754943508222875e-38
"""As many characters as the JSON of a float32 may have."""

# Both tables are those of bitsandbytes, number for number. NF4: quantiles of the normal
# distribution, Dettmers et al., "QLoRA" (2023), appendix E. FP4: by its bits a sign, two of an
# exponent and one of a mantissa, over its largest number, 12.
# fmt: off
_NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)
# fmt: on
_FP4 = (0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0)


def table_of(kind: str) -> Tensor:
    """The table of a kind of 4-bit codes: fp32 [16]."""
    if kind == "nf4":
        return torch.tensor(_NF4)
    return torch.tensor([*_FP4, *(-number for number in _FP4)]) / max(_FP4)


@dataclass(frozen=True)
class StoredCodebook(CodebookFormat):
    """With the type that its bytes get in the file; see `STORAGE`."""

    storage: str = "uint8"


@dataclass(frozen=True)
class FourBits(Packing):
    """The tensors of a linear in 4 bits.

    Args:
        kind: nf4 or fp4.
        nested: the scales are quantized too.
        block_size: weights that share a scale, as they are written; read are those of the file.
        storage: a name of `STORAGE`.
    """

    main: ClassVar[str] = "weight"
    sign: ClassVar[str | None] = "weight.absmax"

    kind: str = "nf4"
    nested: bool = False
    block_size: int = 64
    storage: str = "uint8"

    @property
    def format(self) -> CodebookFormat:
        """What it stores."""
        return CodebookFormat(4, self.block_size, self.kind, self.nested)

    @property
    def state(self) -> str:
        """The part that holds what is no tensor."""
        return f"{_STATE}{self.kind}"

    def parts(self, in_features: int, out_features: int) -> dict[str, Part]:
        """What the weight becomes."""
        count = in_features * out_features
        blocks = -(-count // self.block_size)
        storage = STORAGE[self.storage]
        found = {
            "weight": Part(storage, (-(-count // 2) // storage.itemsize, 1)),
            "weight.absmax": Part(
                torch.uint8 if self.nested else torch.float32, (blocks,), open=True
            ),
            "weight.quant_map": Part(torch.float32, (16,)),
        }
        if self.nested:
            over = -(-blocks // NESTED_SIZE)
            found["weight.nested_absmax"] = Part(torch.float32, (over,), open=True)
            found["weight.nested_quant_map"] = Part(torch.float32, (256,))
        length = self._state_bytes(in_features, out_features)
        return {**found, self.state: Part(torch.uint8, (length,), open=True)}

    def features(self, shape: ShapeOf) -> tuple[int, int]:
        """Shapes do not say it: see `sizes`."""
        raise ValueError("the weight is one row of codes")

    def sizes(self, shape: ShapeOf, part: PartOf) -> tuple[int, int]:
        """Inputs and outputs of a linear, from its state."""
        m, n = State.read(part(self.state)).shape
        return n, m

    def pack(self, values: Values) -> dict[str, Tensor]:
        """The tensors of a weight."""
        if not isinstance(values, Codebook) or isinstance(values.scales, Nested) != self.nested:
            raise ValueError(f"values that are not of {self.format}")
        codes = values.codes.reshape(-1)
        if len(codes) % 2:
            codes = torch.cat([codes, self._padding(codes)])
        packed = (codes[::2] << 4) | codes[1::2]
        m, n = values.shape
        state = State(self.kind, values.block_size, _name(values.made_of), (m, n))
        held = values.scales
        scales: dict[str, Tensor] = {}
        if isinstance(held, Nested):
            state = State(*state.plain, nested=(held.size, "float32", held.offset))
            scales = {"weight.nested_absmax": held.scales, "weight.nested_quant_map": held.table}
        # Blanks fill it up to a length that is known before the weight is: JSON may end in them.
        text = state.write().ljust(self._state_bytes(n, m))
        return {
            "weight": packed.view(STORAGE[self.storage])[:, None],
            "weight.absmax": held.codes if isinstance(held, Nested) else held,
            "weight.quant_map": values.table,
            **scales,
            self.state: torch.tensor(list(text.encode()), dtype=torch.uint8),
        }

    def unpack(self, parts: Mapping[str, Tensor]) -> Codebook:
        """Undo `pack`."""
        state = State.read(parts[self.state])
        m, n = state.shape
        packed = parts["weight"].reshape(-1).view(torch.uint8)
        codes = torch.stack([packed >> 4, packed & 15], dim=-1).view(-1)[: m * n].view(m, n)
        scales: Tensor | Nested = parts["weight.absmax"]
        if self.nested:
            size, _, offset = state.nested or (NESTED_SIZE, "", 0.0)
            scales = Nested(
                parts["weight.absmax"],
                parts["weight.nested_quant_map"].float(),
                parts["weight.nested_absmax"].float(),
                offset,
                size,
            )
        table = parts["weight.quant_map"].float()
        return Codebook(codes, table, scales, state.block_size, getattr(torch, state.dtype))

    def misfit(self, in_features: int, out_features: int) -> str | None:
        """Why a linear of these sizes cannot be stored so."""
        size = STORAGE[self.storage].itemsize
        if size > 1 and in_features * out_features % (2 * size):
            return f"has {in_features * out_features} weights, which do not fill up {self.storage}"
        return None

    def verify(self, parts: Mapping[str, Tensor], name: str) -> None:
        """Refuse a state that is none, scales that are too few or not finite, and other tables."""
        super().verify(parts, name)
        try:
            state = State.read(parts[self.state])
        except ValueError as error:
            raise ModelError(str(error), where=f"{name}.{self.state}") from None
        count = math.prod(state.shape)
        blocks = -(-count // state.block_size)
        wanted = {"weight.absmax": blocks}
        if self.nested:
            if state.nested is None:
                raise ModelError("it does not say nested_offset", where=f"{name}.{self.state}")
            wanted["weight.nested_absmax"] = -(-blocks // state.nested[0])
        held = parts["weight"].numel() * parts["weight"].element_size()
        if held != -(-count // 2):
            raise ModelError(
                f"{held} bytes, where {list(state.shape)} weights take {-(-count // 2)}",
                where=f"{name}.weight",
            )
        for part, length in wanted.items():
            if len(parts[part]) != length:
                raise ModelError(
                    f"{len(parts[part])} scales, where there are {length} blocks",
                    where=f"{name}.{part}",
                )
        table = table_of(self.kind).to(parts["weight.quant_map"].device)
        if not torch.allclose(parts["weight.quant_map"].float(), table, rtol=0, atol=1e-6):
            raise ModelError(f"not the table of {self.kind}", where=f"{name}.weight.quant_map")

    def _padding(self, codes: Tensor) -> Tensor:
        """The code after an odd number of them, as bitsandbytes has it: of the number 0."""
        zero = {"nf4": 7, "fp4": int((-table_of("fp4")).argsort()[7])}[self.kind]
        return codes.new_full((1,), zero)

    def _state_bytes(self, in_features: int, out_features: int) -> int:
        nested = (NESTED_SIZE, "float32", _LONGEST_NUMBER) if self.nested else None
        shape = (out_features, in_features)
        return len(State(self.kind, self.block_size, "bfloat16", shape, nested).write())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
