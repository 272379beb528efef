"""The layout of compressed-tensors, which llm-compressor writes and vLLM and transformers read.

A config has groups of linears: a group names its linears, how their weights are stored, and how
their inputs are rounded. Each format is a file of its own: `compressed_tensors_pack`, `_int`,
`_float` and `_fp4`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tfcli.models.errors import ModelError
from tfcli.models.layouts.compressed_tensors_config import read_group, write_group
from tfcli.models.layouts.compressed_tensors_float import FloatQuantized
from tfcli.models.layouts.compressed_tensors_fp4 import MXFP4, NVFP4
from tfcli.models.layouts.compressed_tensors_int import IntQuantized
from tfcli.models.layouts.compressed_tensors_pack import PackQuantized
from tfcli.models.layouts.compressed_tensors_parts import CompressedPacking
from tfcli.models.layouts.errors import WHERE, refused
from tfcli.models.layouts.floats import FloatFormat
from tfcli.models.layouts.layout import Layout, Packed
from tfcli.models.layouts.values import AffineFormat, Format

_STATUSES = ("compressed", "frozen")
"""Of weights that are stored quantized; older programs wrote the second."""

_REGEX = "re:"
_CLASS = "Linear"
_CACHE_SCALES = r"\.(k|v|q)_scale$|\.(k|v|q)_zero_point$"


@dataclass(frozen=True)
class CompressedTensorsLayout(Layout):
    """A quantization_config with quant_method "compressed-tensors".

    Args:
        groups: what each names (names, `re:` patterns, the class Linear), and how those linears
            are stored; None: their weights are dense.
        ignore: names and patterns of linears that no group has.
        beside: what the config says of other things than weights: the cache's scheme, the ratio.
        notes: what the method says of itself.
    """

    name: ClassVar[str] = "compressed-tensors"
    quant_method: ClassVar[str] = "compressed-tensors"
    shown_by: ClassVar[tuple[str, ...]] = (".weight_scale",)

    groups: tuple[tuple[tuple[str, ...], CompressedPacking | None], ...]
    ignore: tuple[str, ...] = ()
    beside: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def refusal(cls, form: Format) -> str | None:
        """Why this layout cannot store values of a format."""
        if isinstance(form, AffineFormat):
            return None if 1 <= form.bits <= 8 else f"it has 1 to 8 bits, not {form.bits}"
        if not isinstance(form, FloatFormat):
            return "it has levels with scales and zero points, and small floats with scales"
        return None if _float_packing(form) else f"it has no {form}"

    @classmethod
    def packing_for(cls, form: Format) -> CompressedPacking:
        """How it stores values of a format."""
        if isinstance(form, AffineFormat):
            if form.inputs is not None and form.bits == 8:
                return IntQuantized(form.inputs, 8, form.group_size, form.symmetric)
            return PackQuantized(form.inputs, form.bits, form.group_size, form.symmetric)
        packing = _float_packing(form) if isinstance(form, FloatFormat) else None
        assert packing is not None, "what it refuses does not come here"
        return packing

    @classmethod
    def of(cls, packed: Packed) -> CompressedTensorsLayout:
        """The layout of a model that is about to be written: most linears as a class, the others
        by their names."""
        named: dict[CompressedPacking, list[str]] = {}
        for name, packing in packed.packings.items():
            assert isinstance(packing, CompressedPacking)
            named.setdefault(packing, []).append(name)
        usual = max(named, key=lambda packing: len(named[packing]))
        groups = [
            ((_CLASS,) if packing == usual else tuple(names), packing)
            for packing, names in named.items()
        ]
        return cls(tuple(groups), (*packed.kept, *packed.outside), notes=packed.notes)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> CompressedTensorsLayout:
        """Read a quantization_config."""
        _require_plain(config)
        groups = config.get("config_groups")
        if not isinstance(groups, Mapping) or not groups:
            raise ModelError("config_groups: not a mapping of groups", where=WHERE)
        found = []
        for name, group in groups.items():
            if not isinstance(group, Mapping):
                raise refused(f"config_groups.{name}", group, ["a mapping of targets and weights"])
            targets = _names(f"config_groups.{name}.targets", group.get("targets"))
            found.append((targets, read_group(name, group, config.get("format"))))
        if not any(packing for _, packing in found):
            raise ModelError("config_groups: no group has quantized weights", where=WHERE)
        ignore = _names("ignore", config.get("ignore") or [])
        kept = ("kv_cache_scheme", "global_compression_ratio")
        beside = {key: config[key] for key in kept if config.get(key) is not None}
        return cls(tuple(found), ignore, beside)

    def to_config(self) -> dict[str, Any]:
        """The quantization_config, in the words of the library."""
        groups = [(targets, packing) for targets, packing in self.groups if packing is not None]
        forms = {packing.compression for _, packing in groups}
        config: dict[str, Any] = {
            "quant_method": "compressed-tensors",
            "format": forms.pop() if len(forms) == 1 else "mixed-precision",
            "quantization_status": "compressed",
            "config_groups": {
                f"group_{number}": write_group(packing, list(targets))
                for number, (targets, packing) in enumerate(groups)
            },
            "ignore": list(self.ignore),
            "kv_cache_scheme": None,
            "global_compression_ratio": None,
            **self.beside,
        }
        if self.notes:
            config["meta"] = dict(self.notes)
        return config

    @property
    def usual(self) -> CompressedPacking:
        """How most linears are stored: those that a class names, or else the first group's."""
        every = [packing for _, packing in self.groups if packing is not None]
        whole = [p for targets, p in self.groups if p is not None and _CLASS in targets]
        return (whole or every)[0]

    @property
    def unused(self) -> Mapping[str, str]:
        """Scales of the cache, which holds what it is given here."""
        return {_CACHE_SCALES: "a scale of the cache, which is not quantized so here"}

    def packing_of(self, name: str) -> CompressedPacking | None:
        """How a linear is stored. Names come before patterns, and these before the class."""
        if any(_matches(target, name) for target in self.ignore):
            return None
        every = [(target, packing) for targets, packing in self.groups for target in targets]
        every.sort(key=lambda item: (item[0] == _CLASS, item[0].startswith(_REGEX), item[0]))
        return next((packing for target, packing in every if _matches(target, name)), None)


def _float_packing(form: FloatFormat) -> CompressedPacking | None:
    block = form.outputs, form.group_size
    if form.bits == 4:
        four = {("e4m3", (1, 16)): NVFP4, ("e8m0", (1, 32)): MXFP4}
        found = four.get((form.scale, block))
        return None if found is None else found(form.inputs)
    if form.scale == "e8m0" and block == (1, 32):
        return FloatQuantized(form.inputs, *block, powers=True)
    return FloatQuantized(form.inputs, *block) if form.scale == "float" else None


def _matches(target: str, name: str) -> bool:
    if target.startswith(_REGEX):
        return re.match(target.removeprefix(_REGEX), name) is not None
    return target in (_CLASS, name)


def _require_plain(config: Mapping[str, Any]) -> None:
    """Refuse what changes the meaning of weights and is not built."""
    status = config.get("quantization_status", "compressed")
    if status not in _STATUSES:
        raise refused("quantization_status", status, _STATUSES)
    sparsity = config.get("sparsity_config") or {}
    if not isinstance(sparsity, Mapping) or sparsity.get("format", "dense") != "dense":
        raise refused("sparsity_config", sparsity, [None, "format: dense"])
    for key in ("transform_config", "moe_sparsity_config"):
        if config.get(key):
            raise refused(key, config[key], [None])
    scheme, ratio = config.get("kv_cache_scheme"), config.get("global_compression_ratio")
    if scheme is not None and not isinstance(scheme, Mapping):
        raise refused("kv_cache_scheme", scheme, [None, "a mapping"])
    if ratio is not None and (isinstance(ratio, bool) or not isinstance(ratio, int | float)):
        raise refused("global_compression_ratio", ratio, [None, "a number"])


def _names(key: str, given: Any) -> tuple[str, ...]:
    """Names, patterns and classes of modules; Linear is the one class that is packed.

    Raises:
        ModelError: another class, or a pattern that is no regular expression.
    """
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise refused(key, given, ["a list of names"])
    for name in given:
        if name.startswith(_REGEX):
            _require_pattern(key, name)
        elif name[:1].isupper() and name != _CLASS and "." not in name and key != "ignore":
            raise refused(key, name, [_CLASS, "names", "re: patterns"])
    return tuple(given)


def _require_pattern(key: str, name: str) -> None:
    try:
        re.compile(name.removeprefix(_REGEX))
    except (re.error, RecursionError, OverflowError) as error:
        raise ModelError(f"{key}: bad pattern {name!r}: {error}", where=WHERE) from None
