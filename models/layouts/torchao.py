"""torchao's configs and headers, as transformers writes them into folders of safetensors.

A weight is a tensor subclass, which is flattened into tensors named `_weight_qdata` and so on; the
header of every file says of each weight what it was. What a linear becomes is in files of its own:
`torchao_int`, `torchao_int4` and `torchao_float`; `torchao_config` reads the configs.

Source: torchao 0.18, `prototype/safetensors`; transformers 5.23, `TorchAoConfig` and
`quantizers/quantizer_torchao.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from tfcli.models.errors import ModelError
from tfcli.models.layouts.errors import WHERE
from tfcli.models.layouts.floats import FloatFormat
from tfcli.models.layouts.layout import Layout, Packed, Sized
from tfcli.models.layouts.packing import Packing
from tfcli.models.layouts.skipping import fitting, read_names, said, skips, without_tied
from tfcli.models.layouts.torchao_config import BY_NAME, plain, read_type, typed, write_type
from tfcli.models.layouts.torchao_float import TorchAOFloat
from tfcli.models.layouts.torchao_header import texts_of
from tfcli.models.layouts.torchao_int import TorchAOInt
from tfcli.models.layouts.torchao_parts import MAIN, TorchAOPacking, WrittenPacking
from tfcli.models.layouts.values import AffineFormat, Format

if TYPE_CHECKING:
    from tfcli.models.model import Model

_DEFAULT = "_default"
_DTYPES = ("float32", "bfloat16", "float16")
_REGEX = "re:"
_SKIPPED = "modules_to_not_convert"


@dataclass(frozen=True)
class TorchAOLayout(Layout):
    """A quantization_config with quant_method "torchao".

    Args:
        packing: of every linear that `by_name` does not name; None for dense ones.
        by_name: full names, or patterns that begin with `re:`, in the order in which they count.
        skip: names and patterns of what stays as it is.
        notes: what the method says of itself.
    """

    name: ClassVar[str] = "torchao"
    quant_method: ClassVar[str] = "torchao"
    shown_by: ClassVar[tuple[str, ...]] = (f".{MAIN}",)

    packing: TorchAOPacking | None
    by_name: Mapping[str, TorchAOPacking | None] = field(default_factory=dict)
    skip: tuple[str, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def refusal(cls, form: Format) -> str | None:
        """Why this layout cannot store values of a format."""
        if isinstance(form, AffineFormat):
            if not 1 <= form.bits <= 8:
                return f"it has 1 to 8 bits, not {form.bits}"
            rows = (form.bits, form.group_size, form.symmetric) == (8, -1, True)
            inputs = form.inputs
            tokens = inputs is None or (inputs.per == "token" and inputs.symmetric)
            if inputs is not None and not (rows and tokens and not inputs.static):
                return "it rounds inputs by the token beside 8 bits with a scale a row alone"
            return None
        if not isinstance(form, FloatFormat):
            return "it has levels with scales and zero points, and small floats with scales"
        plain_scales = form.bits == 8 and form.scale == "float"
        if not plain_scales or (form.outputs, form.group_size) not in ((1, -1), (-1, -1)):
            return "it has floats of 8 bits with a scale a row or in all"
        if form.inputs is not None and form.outputs == -1:
            return "it rounds inputs by the token beside a scale a row alone"
        return None

    @classmethod
    def packing_for(cls, form: Format) -> TorchAOPacking:
        """How it stores values of a format."""
        if isinstance(form, FloatFormat):
            return TorchAOFloat(form.inputs, form.outputs, form.group_size)
        assert isinstance(form, AffineFormat), "what it refuses does not come here"
        narrow = form.bits != 8 or not form.symmetric
        return TorchAOInt(form.inputs, form.bits, form.group_size, form.symmetric, narrow=narrow)

    @classmethod
    def of(cls, packed: Packed) -> TorchAOLayout:
        """The layout of a model that is about to be written."""
        packings: dict[str, TorchAOPacking | None] = {}
        for name, packing in packed.packings.items():
            assert isinstance(packing, TorchAOPacking)
            packings[name] = packing
        kept = dict.fromkeys([*packed.kept, *packed.outside])
        skip = tuple(said(name, packings) for name in kept)
        first = next(iter(packings.values()))
        if all(packing == first for packing in packings.values()):
            return cls(first, {}, skip, packed.notes)
        return cls(None, packings, skip, packed.notes)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TorchAOLayout:
        """Read a quantization_config."""
        held = config.get("quant_type")
        if not isinstance(held, Mapping) or list(held) != ["default"]:
            raise ModelError(
                f"quant_type: {plain(held)!r} is no config that transformers 5 writes",
                where=WHERE,
                fix="older versions write weights of torchao as pickles, which are not read: load "
                "it there, and save it with transformers 5 and torchao 0.15 or newer",
            )
        key = "quant_type.default"
        skip = read_names(_SKIPPED, config.get(_SKIPPED)) or ()
        kind, options = typed(key, held["default"])
        if kind not in BY_NAME:
            return cls(read_type(key, held["default"]), {}, skip)
        named = options.get("fqn_to_config") or options.get("module_fqn_to_config")
        if not isinstance(named, Mapping) or not named:
            raise ModelError(f"{key}.fqn_to_config: not a mapping of names", where=WHERE)
        by_name = {
            name: None if config is None else read_type(f"{key}.{name}", config)
            for name, config in named.items()
        }
        for name in by_name:
            _require_pattern(f"{key}.fqn_to_config", name)
        if not any(by_name.values()):
            raise ModelError(f"{key}.fqn_to_config: nothing is quantized", where=WHERE)
        return cls(by_name.pop(_DEFAULT, None), by_name, skip)

    def to_config(self) -> dict[str, Any]:
        """The quantization_config, as transformers writes a TorchAoConfig."""
        if self.packing is not None and not self.by_name:
            held = write_type(self.packing)
        else:
            named = {
                name: None if packing is None else write_type(packing)
                for name, packing in self.by_name.items()
            }
            both = {"fqn_to_config": named, "module_fqn_to_config": named}
            held = {"_type": "FqnToConfig", "_version": 1, "_data": both}
        config: dict[str, Any] = {
            "include_input_output_embeddings": False,
            _SKIPPED: list(self.skip),
            "quant_method": "torchao",
            "quant_type": {"default": held},
            "untie_embedding_weights": False,
        }
        return {**config, "meta": dict(self.notes)} if self.notes else config

    def header(
        self, packed: Iterable[Sized], others: Iterable[str], config: Mapping[str, Any]
    ) -> dict[str, str]:
        """What torchao makes a tensor subclass of: JSON for each weight, in every file.

        transformers puts the headers of all files together, and takes one list of names.
        """
        told: dict[str, Mapping[str, Any]] = {}
        for linear in packed:
            assert isinstance(linear.packing, WrittenPacking)
            sizes = (linear.in_features, linear.out_features)
            told[f"{linear.name}.weight"] = linear.packing.told(*sizes, _dtype(config))
        return texts_of(told, others)

    @property
    def usual(self) -> TorchAOPacking:
        """How most linears are packed."""
        return self.packing or next(each for each in self.by_name.values() if each is not None)

    def packing_of(self, name: str) -> TorchAOPacking | None:
        """How a linear is packed. Names come before patterns, and these before the default."""
        if skips(self.skip, name):
            return None
        for spelt in (f"{name}.weight", name):
            if spelt in self.by_name:
                return self.by_name[spelt]
        for pattern, packing in self.by_name.items():
            if pattern.startswith(_REGEX) and any(
                re.fullmatch(pattern.removeprefix(_REGEX), spelt)
                for spelt in (f"{name}.weight", name)
            ):
                return packing
        return self.packing

    def linears(self, model: Model) -> dict[str, Packing]:
        """The linears that can be packed so; torchao leaves others dense, and what is tied to a
        table is none of them."""
        return without_tied(model, fitting(model, super().linears(model)))


def _require_pattern(key: str, name: str) -> None:
    try:
        re.compile(name.removeprefix(_REGEX) if name.startswith(_REGEX) else "")
    except (re.error, RecursionError, OverflowError) as error:
        raise ModelError(f"{key}: bad pattern {name!r}: {error}", where=WHERE) from None


def _dtype(config: Mapping[str, Any]) -> str:
    """The type of a model's weights, which dequantized ones get; float32 where nothing says it."""
    for held in (config, config.get("text_config")):
        if isinstance(held, Mapping):
            name = str(held.get("dtype") or held.get("torch_dtype")).removeprefix("torch.")
            if name in _DTYPES:
                return name
    return "float32"
