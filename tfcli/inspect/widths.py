"""Bits of a weight, and how many share a scale, by the words of each quantization_config."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Widths = tuple[int | None, int | None]
"""Bits and group size; None where the config does not say, or not for all linears alike."""


def widths_of(settings: Mapping[str, Any]) -> Widths:
    """What a quantization_config says of its weights; -1 is a group for each row."""
    read = _METHODS.get(str(settings.get("quant_method")), _plain)
    bits, group = read(settings)
    return (bits if isinstance(bits, int) else None, group if isinstance(group, int) else None)


def _plain(settings: Mapping[str, Any]) -> tuple[Any, Any]:
    if settings.get("load_in_4bit") or settings.get("load_in_8bit"):
        bits: Any = 4 if settings.get("load_in_4bit") else 8
    else:
        bits = settings.get("bits", settings.get("w_bit"))
    return bits, settings.get("group_size", settings.get("q_group_size"))


def _torchao(settings: Mapping[str, Any]) -> tuple[Any, Any]:
    # {"default": {"_type": "Int4WeightOnlyConfig", "_data": {"group_size": 128, ...
    config = _at(settings, "quant_type", "default")
    options = _at(config, "_data")
    told = re.search(r"(?:Int|Float)(\d)Weight", str(config.get("_type")))
    name = _at(options, "weight_dtype").get("_data")  # int4, or float8_e4m3fn
    exact = re.match(r"(?:int|float)(\d)", str(name))
    size = options.get("group_size")
    for key in ("granularity", "weight_granularity"):
        kind = _at(options, key).get("_type")
        if kind in ("PerRow", "PerAxis", "PerGroup"):
            size = _at(options, key, "_data").get("group_size", -1)
    found = exact or told
    return (int(found[1]) if found else None), size


def _quanto(settings: Mapping[str, Any]) -> tuple[Any, Any]:
    named = _at(settings, "quantization_map")
    kinds = {str(_at(said).get("weights", "none")) for said in named.values()} - {"none"}
    kind = str(settings.get("weights", "int8")) if not named else (*kinds, "")[0]
    found = re.match(r"q?(?:int|float)(\d)", kind)
    return (int(found[1]) if found and len(kinds) < 2 else None), None


def _aqlm(settings: Mapping[str, Any]) -> tuple[Any, Any]:
    # Bits of the codes of a block, which is so many weights; rounded up.
    block = [settings.get("in_group_size", 8), settings.get("out_group_size", 1)]
    codes = [settings.get("num_codebooks", 1), settings.get("nbits_per_codebook", 16)]
    if not all(isinstance(number, int) and number > 0 for number in (*block, *codes)):
        return None, None
    return -(-codes[0] * codes[1] // (block[0] * block[1])), None


def _eetq(settings: Mapping[str, Any]) -> tuple[Any, Any]:
    return 8, -1


def _fp8(settings: Mapping[str, Any]) -> tuple[Any, Any]:
    return 8, None  # blocks have two sizes, and rows are told by the tensors alone


def _mxfp4(settings: Mapping[str, Any]) -> tuple[Any, Any]:
    return 4, 32


def _at(settings: Any, *keys: str) -> Mapping[str, Any]:
    """A mapping within mappings; an empty one where there is none."""
    for key in keys:
        settings = settings.get(key) if isinstance(settings, Mapping) else None
    return settings if isinstance(settings, Mapping) else {}


_METHODS: dict[str, Callable[[Mapping[str, Any]], tuple[Any, Any]]] = {
    "torchao": _torchao,
    "quanto": _quanto,
    "aqlm": _aqlm,
    "eetq": _eetq,
    "fp8": _fp8,
    "fbgemm_fp8": _fp8,
    "mxfp4": _mxfp4,
}
