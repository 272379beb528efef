"""The config of bitsandbytes, which transformers, PEFT and vLLM read.

What a linear becomes is in files of its own: `bitsandbytes_4bit` and `bitsandbytes_8bit`.

Source: transformers 5.23, `BitsAndBytesConfig`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from tfcli.models.errors import ModelError
from tfcli.models.layouts.bitsandbytes_4bit import STORAGE, FourBits, StoredCodebook
from tfcli.models.layouts.bitsandbytes_8bit import THRESHOLD, EightBits, RowFormat
from tfcli.models.layouts.bitsandbytes_state import COMPUTE, KINDS
from tfcli.models.layouts.codebook import CodebookFormat
from tfcli.models.layouts.errors import WHERE, refused
from tfcli.models.layouts.layout import Layout, Packed
from tfcli.models.layouts.packing import Packing
from tfcli.models.layouts.skipping import read_names, said, skips, without_tied
from tfcli.models.layouts.values import Format

if TYPE_CHECKING:
    from tfcli.models.model import Model
_SKIPPED = "llm_int8_skip_modules"


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
        skip = [said(name, packed.packings) for name in kept]
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
        return cls(packing, compute, read_names(_SKIPPED, config.get(_SKIPPED)), offload)

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
            _SKIPPED: None if self.skip is None else list(self.skip),
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
        return without_tied(model, super().linears(model))


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
