"""AutoRound's folders, whose tensors are in other layouts: in which, and what its config would say.

    auto_round:auto_gptq                    gptq, zero points minus one
    auto_round, auto_round:gptqmodel        gptq_v2, zero points as they are
    auto_round:auto_awq                     awq
    auto_round:llm_compressor               compressed-tensors: mxfp4, mxfp8, nvfp4

What lies in `block_name_to_quantize` is packed, and `extra_config` says what is different there:
full names and regular expressions, of which names count first. From 16 bits on a linear is dense.
Source: https://github.com/intel/auto-round 0.16.1 (`export/export_to_autoround`,
`inference/convert_model.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tfcli.models.errors import ModelError
from tfcli.models.layouts.errors import WHERE, refused

NAME = "auto-round"
_VERSIONS = {
    "auto_round:auto_gptq": "gptq",
    "auto_round:gptq": "gptq",
    "auto_round": "gptq_v2",
    "auto_round:gptqmodel": "gptq_v2",
}
_AWQ = ("auto_round:auto_awq", "auto_round:awq")
_FLOATS = "auto_round:llm_compressor"
_HEAD = "lm_head"
_DENSE = 16
"""Bits from which on a linear is not quantized."""


def stands_for(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The quantization_config that says what AutoRound's says, in the words of the layout it has.

    Configs of other methods come back as they are.

    Raises:
        ModelError: a format or a value that is not supported, by name.
    """
    if config.get("quant_method") != NAME:
        return config
    form = config.get("packing_format", "auto_round:auto_gptq")
    known = [*_VERSIONS, *_AWQ, _FLOATS]
    if form not in known:
        raise refused("packing_format", form, known)
    for key in ("rotation_config", "rotation_configs"):
        if config.get(key):
            raise refused(key, config[key], [None])
    own = _own(config.get("extra_config"))
    _require_bits(config)
    if form == _FLOATS:
        return _compressed(config, own)
    for changes in (config, *own.values()):
        if _is_dense(changes):
            continue
        if changes.get("data_type", "int") != "int":
            raise refused("data_type", changes["data_type"], ["int"])
        if (changes.get("act_bits") or _DENSE) < _DENSE:
            raise refused("act_bits", changes["act_bits"], [_DENSE])
    return _awq(config, own) if form in _AWQ else _gptq(config, own, _VERSIONS[form])


def _gptq(
    config: Mapping[str, Any], own: Mapping[str, Mapping[str, Any]], version: str
) -> dict[str, Any]:
    dynamic: dict[str, dict[str, Any]] = {}
    for name, changes in own.items():
        if _is_dense(changes):
            dynamic[f"-:{_pattern(name)}"] = {}
        else:
            kept = {k: v for k, v in changes.items() if k in ("bits", "group_size", "sym")}
            dynamic[f"+:{_pattern(name)}"] = kept
    outside = _outside(config)
    if outside is not None:
        dynamic[f"-:(?!{_HEAD}$){outside}"] = {}
    return {
        "quant_method": "gptq",
        "bits": config.get("bits", 4),
        "group_size": config.get("group_size", 128),
        "sym": config.get("sym", True),
        "checkpoint_format": version,
        "lm_head": _HEAD in own and not _is_dense(own[_HEAD]),
        "dynamic": dynamic,
    }


def _awq(config: Mapping[str, Any], own: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    kept = []
    for name, changes in own.items():
        if not _is_dense(changes):
            raise refused(f"extra_config.{name}", dict(changes), ["16 bits, beside this format"])
        kept.append(_pattern(name))
    outside = _outside(config)
    return {
        "quant_method": "awq",
        "bits": config.get("bits", 4),
        "group_size": config.get("group_size", 128),
        "zero_point": not config.get("sym", True),
        "version": "gemm",
        "modules_to_not_convert": kept if outside is None else [*kept, f"{outside}.*"],
    }


def _compressed(config: Mapping[str, Any], own: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    kind = str(config.get("data_type"))
    bits: Any = config.get("bits")
    short = kind.startswith("nv_fp")
    forms = {
        (False, 4): "mxfp4-pack-quantized",
        (False, 8): "mxfp8-quantized",
        (True, 4): "nvfp4-pack-quantized",
    }
    if not (short or kind.startswith("mx_fp")) or (short, bits) not in forms:
        raise refused("data_type", f"{kind} of {bits} bits", ["mx_fp of 4 or 8", "nv_fp of 4"])
    for name, changes in own.items():
        same = all(changes.get(key, config.get(key)) == config.get(key) for key in _OF_WEIGHTS)
        if not same and not _is_dense(changes):
            raise refused(f"extra_config.{name}", dict(changes), ["16 bits, beside this format"])
    packed = [re.escape(name) for name, changes in own.items() if not _is_dense(changes)]
    ignored = [f"re:{_pattern(name)}" for name, changes in own.items() if _is_dense(changes)]
    outside = _outside(config)
    if outside is None:
        ignored += [] if _HEAD in packed else [_HEAD]
    else:
        ignored.append("re:" + "".join(f"(?!{name}$)" for name in packed) + outside)
    group = {
        "targets": ["Linear"],
        "weights": _floats(bits, short),
        "input_activations": _inputs(config, short),
    }
    return {
        "quant_method": "compressed-tensors",
        "format": forms[short, bits],
        "config_groups": {"group_0": group},
        "ignore": ignored,
    }


_OF_WEIGHTS = ("bits", "group_size", "data_type")


def _floats(bits: Any, short: bool) -> dict[str, Any]:
    strategy, size = ("tensor_group", 16) if short else ("group", 32)
    return {"num_bits": bits, "type": "float", "strategy": strategy, "group_size": size}


def _inputs(config: Mapping[str, Any], short: bool) -> dict[str, Any] | None:
    bits = config.get("act_bits") or _DENSE
    if bits >= _DENSE:
        return None
    if config.get("act_dynamic") is False:
        raise refused("act_dynamic", False, [True])
    if short:
        return _floats(bits, short) | {"dynamic": "local"}
    return _floats(bits, short) | {"dynamic": True, "scale_dtype": "torch.uint8"}


def _own(given: Any) -> dict[str, Mapping[str, Any]]:
    """`extra_config`, full names before regular expressions."""
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(v, Mapping) for v in given.values()):
        raise ModelError("extra_config: not a mapping of names to settings", where=WHERE)
    for name, changes in given.items():
        try:
            re.compile(name)
        except re.error as error:
            raise ModelError(f"extra_config: bad pattern {name!r}: {error}", where=WHERE) from None
        _require_bits(changes, f"extra_config.{name}.")
    return dict(sorted(given.items(), key=lambda item: not _whole(item[0])))


def _require_bits(changes: Mapping[str, Any], inside: str = "") -> None:
    """Refuse bits that are no whole number; act_bits may be null."""
    if type(changes.get("bits", 0)) is not int:
        raise refused(f"{inside}bits", changes["bits"], ["a whole number"])
    if type(changes.get("act_bits") or 0) is not int:
        raise refused(f"{inside}act_bits", changes["act_bits"], ["a whole number"])


def _is_dense(changes: Mapping[str, Any]) -> bool:
    return bool(changes.get("bits", 0) >= _DENSE)


def _whole(name: str) -> bool:
    """Whether a key of `extra_config` is a name: its regular expressions begin and end in `.*`."""
    return re.fullmatch(r"[\w.-]+", name) is not None


def _pattern(name: str) -> str:
    """A regular expression for a whole name, of a key of `extra_config`."""
    return f"^{re.escape(name)}$" if _whole(name) else f".*(?:{name}).*$"


def _outside(config: Mapping[str, Any]) -> str | None:
    """A regular expression for the beginning of names that are in no quantized block; None where
    the config does not say which blocks are."""
    blocks = config.get("quant_block_list", config.get("block_name_to_quantize"))
    if blocks is None:
        return None
    names = blocks.split(",") if isinstance(blocks, str) else _flat(blocks)
    if not names or not all(isinstance(name, str) for name in names):
        raise refused("block_name_to_quantize", blocks, ["names"])
    inside = "|".join(re.escape(name.strip()) for name in names)
    return rf"(?!(?:{inside})(?:\.|$))"


def _flat(names: Any) -> Sequence[Any]:
    if not isinstance(names, list):
        return [names]
    return [name for item in names for name in _flat(item)]
