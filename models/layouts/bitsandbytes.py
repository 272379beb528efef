"""The layout of bitsandbytes, which transformers, PEFT and vLLM read.

For a linear with `n` inputs and `m` outputs, in 4 bits (`nf4`, `fp4`) with blocks of 64 that run on
from row to row:

    weight                                 uint8 [ceil(m*n/2), 1]   two codes a byte, the first high
    weight.absmax                          fp32 [blocks], or uint8 where the scales are quantized
    weight.quant_map                       fp32 [16]                the table
    weight.nested_absmax                   fp32 [ceil(blocks/256)]  scales of the scales
    weight.nested_quant_map                fp32 [256]               the table of the scales
    weight.quant_state.bitsandbytes__nf4   uint8                    sizes and the rest, as JSON

and in 8 bits (LLM.int8()):

    weight          int8 [m, n]    level = round(127 * weight / SCB)
    SCB             fp32 [m]       the largest weight of each output
    weight_format   uint8 []       0: rows as they are

Source: bitsandbytes 0.50, `functional.py` (QuantState) and `nn/modules.py`; transformers 5.23,
`BitsAndBytesConfig` and `should_convert_module`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from tfcli.models.errors import ModelError
from tfcli.models.layers import llm_int8
from tfcli.models.layouts.codebook import Codebook, CodebookFormat, Nested
from tfcli.models.layouts.errors import WHERE, refused
from tfcli.models.layouts.inputs import Rounding
from tfcli.models.layouts.layout import Layout, Packed
from tfcli.models.layouts.packing import Packing, Part, PartOf, ShapeOf
from tfcli.models.layouts.values import Format, Leveled, Values

if TYPE_CHECKING:
    from tfcli.models.model import Model

BLOCK_SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
NESTED_SIZE = 256
"""Scales that share a scale of theirs."""
THRESHOLD = 6.0
"""Inputs from here on are outliers, where the config does not say."""

STORAGE = {
    name: getattr(torch, name)
    for name in ("uint8", "int8", "float16", "bfloat16", "float32", "float64")
}
"""bnb_4bit_quant_storage: what the bytes of two codes are called in the file."""
COMPUTE = ("float32", "bfloat16", "float16")
"""bnb_4bit_compute_dtype."""

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

KINDS = ("nf4", "fp4")


def table_of(kind: str) -> Tensor:
    """The table of a kind of 4-bit codes: fp32 [16]."""
    if kind == "nf4":
        return torch.tensor(_NF4)
    return torch.tensor([*_FP4, *(-number for number in _FP4)]) / max(_FP4)


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
        m, n = _State.read(part(self.state)).shape
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
        state = _State(self.kind, values.block_size, _name(values.made_of), (m, n))
        held = values.scales
        scales: dict[str, Tensor] = {}
        if isinstance(held, Nested):
            state = _State(*state.plain, nested=(held.size, "float32", held.offset))
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
        state = _State.read(parts[self.state])
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
            state = _State.read(parts[self.state])
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
        return len(_State(self.kind, self.block_size, "bfloat16", shape, nested).write())


@dataclass(frozen=True)
class _State:
    """What quant_state says of a weight in 4 bits.

    Args:
        kind: nf4 or fp4.
        block_size: weights that share a scale.
        dtype: of the weight that was quantized.
        shape: outputs and inputs.
        nested: scales that share one of theirs, its type, and what is added to all scales.
    """

    kind: str
    block_size: int
    dtype: str
    shape: tuple[int, int]
    nested: tuple[int, str, float] | None = None

    @property
    def plain(self) -> tuple[str, int, str, tuple[int, int]]:
        """All but the scales' scales."""
        return self.kind, self.block_size, self.dtype, self.shape

    def write(self) -> str:
        """As JSON, in bitsandbytes' order."""
        said: dict[str, Any] = {
            "quant_type": self.kind,
            "blocksize": self.block_size,
            "dtype": self.dtype,
            "shape": list(self.shape),
        }
        if self.nested is not None:
            size, dtype, offset = self.nested
            said |= {"nested_blocksize": size, "nested_dtype": dtype, "nested_offset": offset}
        return json.dumps(said)

    @classmethod
    def read(cls, part: Tensor) -> _State:
        """From the bytes of the file.

        Raises:
            ValueError: it does not say what is needed, or not in a way that there is.
        """
        try:
            said = json.loads(bytes(part.reshape(-1).tolist()).decode())
        except (ValueError, RecursionError):
            raise ValueError("it is no JSON") from None
        if not isinstance(said, dict):
            raise ValueError("it is no JSON object")
        kind = _one_of(said, "quant_type", KINDS)
        block_size = _one_of(said, "blocksize", BLOCK_SIZES)
        dtype = _one_of(said, "dtype", COMPUTE)
        shape = said.get("shape")
        sizes = shape if isinstance(shape, list) else []
        if len(sizes) != 2 or not all(type(n) is int and 0 < n < 1 << 31 for n in sizes):
            raise ValueError(f"shape: {shape!r} is not two sizes")
        nested = None
        if "nested_offset" in said:
            offset = said["nested_offset"]
            if type(offset) not in (int, float) or not math.isfinite(offset):
                raise ValueError(f"nested_offset: {offset!r} is no number")
            size = said.get("nested_blocksize")
            if type(size) is not int or size < 1:
                raise ValueError(f"nested_blocksize: {size!r} is no size")
            nested = (size, str(said.get("nested_dtype")), float(offset))
        return cls(kind, block_size, dtype, (sizes[0], sizes[1]), nested)


def _one_of(said: Mapping[str, Any], key: str, known: Sequence[Any]) -> Any:
    if said.get(key) not in known:
        listing = ", ".join(map(str, known))
        raise ValueError(f"{key}: {said.get(key)!r} is not supported; supported: {listing}")
    return said[key]


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


@dataclass(frozen=True)
class BitsAndBytesLayout(Layout):
    """A quantization_config with quant_method "bitsandbytes".

    Args:
        packing: of every linear that is not skipped.
        compute: bnb_4bit_compute_dtype, for readers that cast inputs to it.
        skip: names and regular expressions of what stays as it is; None for what is tied, which a
            checkpoint tells together with the heads that it keeps.
        offload: llm_int8_enable_fp32_cpu_offload, which says nothing of the file.
        notes: what the method says of itself.
    """

    name: ClassVar[str] = "bitsandbytes"
    quant_method: ClassVar[str] = "bitsandbytes"
    shown_by: ClassVar[tuple[str, ...]] = (".weight.absmax", ".SCB")

    packing: FourBits | EightBits
    compute: str = "float32"
    skip: tuple[str, ...] | None = None
    offload: bool = False
    notes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def refusal(cls, form: Format) -> str | None:
        """Why this layout cannot store values of a format."""
        if isinstance(form, CodebookFormat | RowFormat):
            return None
        return "it has nf4, fp4 and 8-bit rows alone"

    @classmethod
    def packing_for(cls, form: Format) -> FourBits | EightBits:
        """How it stores values of a format."""
        if isinstance(form, StoredCodebook):
            return FourBits(form.table, form.nested, form.group_size, form.storage)
        if isinstance(form, CodebookFormat):
            return FourBits(form.table, form.nested, form.group_size)
        assert isinstance(form, RowFormat), "what it refuses does not come here"
        return EightBits(form.threshold)

    @classmethod
    def of(cls, packed: Packed) -> BitsAndBytesLayout:
        """The layout of a model that is about to be written.

        Raises:
            ModelError: linears of several kinds, which the config cannot say.
        """
        kinds = {
            (type(packing), getattr(packing, "kind", None)): packing
            for packing in packed.packings.values()
        }
        if len(kinds) > 1:
            raise ModelError(
                "bitsandbytes: its config says one kind for all linears, and these have "
                + " and ".join(sorted(str(packing.format) for packing in kinds.values())),
                where="layout",
                fix="quantize all linears to the same bits and the same table",
            )
        packing = next(iter(kinds.values()))
        assert isinstance(packing, FourBits | EightBits)
        notes = dict(packed.notes)
        compute = str(notes.pop("compute_dtype", "float32"))
        kept = dict.fromkeys([*packed.kept, *packed.outside])
        skip = [_said(name, packed.packings) for name in kept]
        return cls(packing, compute, tuple(skip), notes=notes)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> BitsAndBytesLayout:
        """Read a quantization_config."""
        four = _flag(config, "load_in_4bit") or _flag(config, "_load_in_4bit")
        eight = _flag(config, "load_in_8bit") or _flag(config, "_load_in_8bit")
        if four == eight:
            both = "both are true" if four else "neither is true"
            raise ModelError(
                f"load_in_4bit and load_in_8bit: {both}", where=WHERE, fix="set one of them to true"
            )
        if _flag(config, "llm_int8_has_fp16_weight"):
            raise refused("llm_int8_has_fp16_weight", True, [False])
        packing: FourBits | EightBits
        compute = _choice(config, "bnb_4bit_compute_dtype", COMPUTE, "float32")
        kind = _choice(config, "bnb_4bit_quant_type", KINDS, "fp4") if four else ""
        storage = _choice(config, "bnb_4bit_quant_storage", tuple(STORAGE), "uint8")
        nested = _flag(config, "bnb_4bit_use_double_quant")
        threshold = config.get("llm_int8_threshold", THRESHOLD)
        if type(threshold) not in (int, float) or not 0 <= threshold < math.inf:
            raise ModelError(
                f"llm_int8_threshold: {threshold!r} is no number from 0 on", where=WHERE
            )
        if four:
            packing = FourBits(kind, nested, storage=storage)
        else:
            packing = EightBits(float(threshold))
        offload = _flag(config, "llm_int8_enable_fp32_cpu_offload")
        return cls(packing, compute, _skip(config.get("llm_int8_skip_modules")), offload)

    def to_config(self) -> dict[str, Any]:
        """The quantization_config, as transformers writes a BitsAndBytesConfig."""
        held = self.packing
        four = held if isinstance(held, FourBits) else FourBits("fp4")
        in_four = isinstance(held, FourBits)
        config: dict[str, Any] = {
            "_load_in_4bit": in_four,
            "_load_in_8bit": not in_four,
            "bnb_4bit_compute_dtype": self.compute,
            "bnb_4bit_quant_storage": four.storage,
            "bnb_4bit_quant_type": four.kind,
            "bnb_4bit_use_double_quant": four.nested,
            "llm_int8_enable_fp32_cpu_offload": self.offload,
            "llm_int8_has_fp16_weight": False,
            "llm_int8_skip_modules": None if self.skip is None else list(self.skip),
            "llm_int8_threshold": THRESHOLD if isinstance(held, FourBits) else held.threshold,
            "load_in_4bit": in_four,
            "load_in_8bit": not in_four,
            "quant_method": "bitsandbytes",
        }
        return {**config, "meta": dict(self.notes)} if self.notes else config

    @property
    def usual(self) -> FourBits | EightBits:
        """How linears are packed."""
        return self.packing

    def packing_of(self, name: str) -> FourBits | EightBits | None:
        """How a linear is packed. What is skipped is as transformers has it."""
        return None if skips(self.skip or (), name) else self.packing

    def linears(self, model: Model) -> dict[str, Packing]:
        """The linears that the config does not skip; what is tied to a table is none of them."""
        found = super().linears(model)
        for pair in model.active_ties().items():
            for tied in pair:
                found.pop(tied.rpartition(".")[0], None)
        return found


@dataclass(frozen=True)
class StoredCodebook(CodebookFormat):
    """With the type that its bytes get in the file; see `STORAGE`."""

    storage: str = "uint8"


def skips(patterns: Sequence[str], name: str) -> bool:
    """Whether a linear stays as it is, by transformers' rules.

    A pattern is a regular expression that matches the beginning of the name, up to a dot or its
    end, or the end of a name as it is written.
    """
    return any(
        name.endswith(pattern) or re.match(rf"(?:{pattern})(?:(?<=\.)|(?=\.|$))", name)
        for pattern in patterns
    )


def _said(name: str, packed: Mapping[str, Packing]) -> str:
    """What skips a linear by its name, and none of those that are packed."""
    meets_another = any(skips((name,), other) for other in packed)
    return f"^{re.escape(name)}$" if meets_another else name


def _skip(names: Any) -> tuple[str, ...] | None:
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModelError("llm_int8_skip_modules: not a list of names", where=WHERE)
    for name in names:
        try:
            re.compile(name)
        except (re.error, RecursionError, OverflowError) as error:
            raise ModelError(
                f"llm_int8_skip_modules: bad pattern {name!r}: {error}", where=WHERE
            ) from None
    return tuple(names)


def _flag(config: Mapping[str, Any], key: str) -> bool:
    value = config.get(key)
    if value not in (None, True, False):
        raise refused(key, value, [True, False])
    return bool(value)


def _choice(config: Mapping[str, Any], key: str, known: Sequence[str], default: str) -> str:
    value = config.get(key)
    if value is None:
        return default
    name = value.removeprefix("torch.") if isinstance(value, str) else value
    if name not in known:
        raise refused(key, value, known)
    return str(name)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
