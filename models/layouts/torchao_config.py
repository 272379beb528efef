"""A config of torchao, as transformers writes it into quant_type, and the packing that it means.

    {"_type": "Int8WeightOnlyConfig", "_version": 2, "_data": {"granularity": ...}}

What changes the meaning of weights or inputs is used, or refused by name; the rest says how scales
were found, or which kernels torchao takes.

Source: torchao 0.18, `core/config.py`, `quantization/quant_api.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfcli.models.errors import ModelError
from tfcli.models.layouts.errors import WHERE, refused
from tfcli.models.layouts.inputs import Inputs
from tfcli.models.layouts.torchao_float import TorchAOFloat
from tfcli.models.layouts.torchao_int import TorchAOInt
from tfcli.models.layouts.torchao_int4 import TorchAOInt4
from tfcli.models.layouts.torchao_parts import TorchAOPacking, dtype_of

BY_NAME = ("FqnToConfig", "ModuleFqnToConfig")
"""Configs that have one for each name."""

_KEYS: dict[str, dict[str, tuple[Any, ...]]] = {
    "Int8WeightOnlyConfig": {"group_size": (None,)},
    "Int8DynamicActivationInt8WeightConfig": {
        "weight_only_decode": (False,),
        "reduce_range": (None, False),
    },
    "IntxWeightOnlyConfig": {"intx_packing_format": ("UNPACKED_TO_INT8",)},
    "Int8DynamicActivationIntxWeightConfig": {
        "intx_packing_format": ("UNPACKED_TO_INT8",),
        "act_mapping_type": ("ASYMMETRIC",),
    },
    "Int4WeightOnlyConfig": {"int4_packing_format": ("PLAIN",)},
    "Float8WeightOnlyConfig": {"weight_dtype": ("float8_e4m3fn",)},
    "Float8DynamicActivationFloat8WeightConfig": {
        "weight_dtype": ("float8_e4m3fn",),
        "activation_dtype": ("float8_e4m3fn",),
        "packing_format": ("PLAIN",),
        "activation_value_lb": (None,),
        "activation_value_ub": (None,),
    },
}
"""The configs that are read -> their keys that must have one of these values."""

_OF_GPUS = ("TILE_PACKED_TO_4D", "PRESHUFFLED", "PLAIN_INT32")
"""Packings in the order of one kind of device; torch has no operator that reads them on a CPU."""

_AGAIN = "quantize it again with torchao 0.15 or newer, and save it with transformers 5"


def read_type(key: str, said: Any) -> TorchAOPacking:
    """How the linears of a config are stored.

    Args:
        key: where it stands, for errors.
        said: the config.

    Raises:
        ModelError: names what is not supported.
    """
    kind, options = typed(key, said)
    if kind not in _KEYS:
        raise refused(key, kind, list(_KEYS))
    if said.get("_version", 1) != 2:
        raise ModelError(
            f"{key}: version {said.get('_version', 1)!r} of {kind} is not supported",
            where=WHERE,
            fix=f"supported: 2; {_AGAIN}",
        )
    for name, allowed in _KEYS[kind].items():
        value = plain(options.get(name, allowed[0]))
        if str(value).upper() in _OF_GPUS:
            raise ModelError(
                f"{key}.{name}: {value!r} puts levels into the order of one kind of GPU or XPU, "
                "which torch reads on that device alone",
                where=WHERE,
                fix="quantize it with int4_packing_format: plain, which is read everywhere",
            )
        if value not in allowed:
            raise refused(f"{key}.{name}", value, [str(item) for item in allowed])
    read = {
        "Int8WeightOnlyConfig": _int8,
        "Int8DynamicActivationInt8WeightConfig": _int8_with_inputs,
        "IntxWeightOnlyConfig": _narrow,
        "Int8DynamicActivationIntxWeightConfig": _narrow_with_inputs,
        "Int4WeightOnlyConfig": _int4,
        "Float8WeightOnlyConfig": _float8,
        "Float8DynamicActivationFloat8WeightConfig": _float8_with_inputs,
    }
    return read[kind](key, options)


def typed(key: str, said: Any) -> tuple[str, Mapping[str, Any]]:
    """The class and the keys of a config that torchao wrote.

    Raises:
        ModelError: it is none.
    """
    options = said.get("_data") if isinstance(said, Mapping) else None
    kind = said.get("_type") if isinstance(said, Mapping) else None
    if not isinstance(kind, str) or not isinstance(options, Mapping):
        raise ModelError(f"{key}: no config that torchao wrote", where=WHERE, fix=_AGAIN)
    return kind, options


def plain(value: Any) -> Any:
    """What an enumeration or a type says: `{"_type": "torch.dtype", "_data": "int4"}` is int4."""
    if isinstance(value, Mapping) and isinstance(value.get("_data"), str):
        return value["_data"]
    return value


def write_type(packing: TorchAOPacking) -> dict[str, Any]:
    """The config of linears that are stored so."""
    options: dict[str, Any]
    rounded = packing.inputs is not None
    if isinstance(packing, TorchAOInt) and not packing.narrow:
        granularity = _group(packing.group_size)
        if not rounded:
            options = {"granularity": granularity, "group_size": None}
            return _config("Int8WeightOnlyConfig", options)
        options = {
            "granularity": granularity,
            "act_mapping_type": {"_type": "MappingType", "_data": "SYMMETRIC"},
            "weight_only_decode": False,
            "reduce_range": False,
        }
        return _config("Int8DynamicActivationInt8WeightConfig", options)
    if isinstance(packing, TorchAOInt):
        whole = _granularity("PerAxis", axis=0)
        kind = "SYMMETRIC" if packing.symmetric else "ASYMMETRIC"
        options = {
            "weight_dtype": dtype_of(f"int{packing.bits}"),
            "granularity": whole if packing.group_size == -1 else _group(packing.group_size),
            "mapping_type": {"_type": "MappingType", "_data": kind},
            "scale_dtype": None,
            "intx_packing_format": {"_type": "IntxPackingFormat", "_data": "UNPACKED_TO_INT8"},
            "intx_choose_qparams_algorithm": {
                "_type": "IntxChooseQParamsAlgorithm",
                "_data": "AFFINE",
            },
        }
        return _config("IntxWeightOnlyConfig", options)
    assert isinstance(packing, TorchAOFloat), "no other packing is written"
    every = packing.outputs == -1
    granularity = _granularity("PerTensor") if every else _group(packing.group_size)
    options = {"weight_dtype": dtype_of("float8_e4m3fn"), "granularity": granularity}
    if not rounded:
        return _config("Float8WeightOnlyConfig", options)
    options |= {"activation_dtype": dtype_of("float8_e4m3fn"), "granularity": [granularity] * 2}
    return _config("Float8DynamicActivationFloat8WeightConfig", options)


def _config(kind: str, options: dict[str, Any]) -> dict[str, Any]:
    return {"_type": kind, "_version": 2, "_data": options}


def _granularity(kind: str, **options: int) -> dict[str, Any]:
    return {"_type": kind, "_version": 1, "_data": options}


def _group(size: int) -> dict[str, Any]:
    return (
        _granularity("PerRow", dim=-1) if size == -1 else _granularity("PerGroup", group_size=size)
    )


def _int8(key: str, options: Mapping[str, Any]) -> TorchAOInt:
    size, every = _blocks(f"{key}.granularity", options.get("granularity"))
    return TorchAOInt(None, 8, size, tensor=every)


def _int8_with_inputs(key: str, options: Mapping[str, Any]) -> TorchAOInt:
    of_inputs, of_weights = _pair(f"{key}.granularity", options.get("granularity"))
    size, every = _blocks(f"{key}.granularity", of_weights, groups=False)
    kind = plain(options.get("act_mapping_type", "SYMMETRIC"))
    if kind not in ("SYMMETRIC", "ASYMMETRIC"):
        raise refused(f"{key}.act_mapping_type", kind, ["SYMMETRIC", "ASYMMETRIC"])
    whole = _blocks(f"{key}.granularity", of_inputs, groups=False)[1]
    if whole and kind == "ASYMMETRIC":
        raise refused(f"{key}.act_mapping_type", kind, ["SYMMETRIC with PerTensor"])
    inputs = Inputs("int8", "tensor" if whole else "token", symmetric=kind == "SYMMETRIC")
    return TorchAOInt(inputs, 8, size, tensor=every)


def _narrow(key: str, options: Mapping[str, Any], prefix: str = "") -> TorchAOInt:
    name = plain(options.get("weight_dtype", "int8"))
    if not isinstance(name, str) or name not in _WIDTHS:
        raise refused(f"{key}.weight_dtype", name, list(_WIDTHS))
    said = options.get(f"{prefix}granularity")
    size, _ = _blocks(f"{key}.{prefix}granularity", said, tensor=False)
    kind = plain(options.get(f"{prefix}mapping_type", "SYMMETRIC"))
    if kind not in _MAPPINGS:
        raise refused(f"{key}.{prefix}mapping_type", kind, _MAPPINGS)
    return TorchAOInt(None, _WIDTHS[name], size, kind != "ASYMMETRIC", narrow=True)


def _narrow_with_inputs(key: str, options: Mapping[str, Any]) -> TorchAOInt:
    weights = _narrow(key, options, "weight_")
    inputs = Inputs("int8", symmetric=False)
    return TorchAOInt(inputs, weights.bits, weights.group_size, weights.symmetric, narrow=True)


def _int4(key: str, options: Mapping[str, Any]) -> TorchAOInt4:
    return TorchAOInt4(None, _size(f"{key}.group_size", options.get("group_size", 128)))


def _float8(key: str, options: Mapping[str, Any]) -> TorchAOFloat:
    size, every = _blocks(f"{key}.granularity", options.get("granularity"))
    return TorchAOFloat(None, -1 if every else 1, size)


def _float8_with_inputs(key: str, options: Mapping[str, Any]) -> TorchAOFloat:
    said = options.get("granularity") or {"_type": "PerTensor", "_data": {}}
    of_inputs, of_weights = _pair(f"{key}.granularity", said)
    size, every = _blocks(f"{key}.granularity", of_weights, groups=False)
    whole = _blocks(f"{key}.granularity", of_inputs, groups=False)[1]
    inputs = Inputs("e4m3", "tensor" if whole else "token")
    return TorchAOFloat(inputs, -1 if every else 1, size)


_WIDTHS = {f"int{bits}": bits for bits in range(1, 9)}
_MAPPINGS = ("SYMMETRIC", "ASYMMETRIC", "SYMMETRIC_NO_CLIPPING_ERR")


def _pair(key: str, said: Any) -> tuple[Any, Any]:
    """The granularities of inputs and weights: two, or one for both."""
    if not isinstance(said, list):
        return said, said
    if len(said) != 2:
        raise refused(key, said, ["one granularity, or two"])
    return said[0], said[1]


def _blocks(key: str, said: Any, *, groups: bool = True, tensor: bool = True) -> tuple[int, bool]:
    """The group size that a granularity means, and whether all of a weight shares one scale."""
    kind, options = typed(key, said or {"_type": "PerRow", "_data": {}})
    if kind == "PerGroup" and groups:
        return _size(f"{key}.group_size", options.get("group_size")), False
    if kind == "PerTensor" and tensor:
        return -1, True
    rows = {"PerRow": ("dim", (-1, 1)), "PerAxis": ("axis", (0,))}
    if kind not in rows:
        known = ["PerRow", *(["PerGroup"] if groups else []), *(["PerTensor"] if tensor else [])]
        raise refused(key, kind, known)
    name, allowed = rows[kind]
    if options.get(name, allowed[0]) not in allowed:
        raise refused(f"{key}.{name}", options[name], allowed)
    return -1, False


def _size(key: str, size: Any) -> int:
    if type(size) is not int or size < 1:
        raise refused(key, size, ["1 or more"])
    return size
