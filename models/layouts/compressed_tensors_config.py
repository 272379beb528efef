"""A group of a compressed-tensors config, and the packing that it means: both ways.

Keys and values as the library's `QuantizationScheme` and `QuantizationArgs` have them. What changes
the meaning of weights or inputs is used, or refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfcli.models.errors import ModelError
from tfcli.models.layouts.compressed_tensors_float import FloatQuantized
from tfcli.models.layouts.compressed_tensors_fp4 import MXFP4, NVFP4
from tfcli.models.layouts.compressed_tensors_int import IntQuantized
from tfcli.models.layouts.compressed_tensors_pack import PackQuantized
from tfcli.models.layouts.compressed_tensors_parts import CompressedPacking
from tfcli.models.layouts.errors import WHERE, refused
from tfcli.models.layouts.inputs import Inputs

FORMATS = (
    "pack-quantized",
    "int-quantized",
    "float-quantized",
    "naive-quantized",
    "nvfp4-pack-quantized",
    "mxfp4-pack-quantized",
    "mxfp8-quantized",
)
"""How linears are stored, by the config's names."""

_DEFAULTS: dict[str, Any] = {
    "num_bits": 8,
    "type": "int",
    "symmetric": True,
    "strategy": None,
    "group_size": None,
    "block_structure": None,
    "dynamic": False,
    "actorder": None,
    "scale_dtype": None,
}
"""What the library takes for keys that are left out."""

_SAID = ("observer", "observer_kwargs", "zp_dtype")
"""Keys that say how a scale was found, or what follows from others."""

_GROUP_KEYS = ("targets", "weights", "input_activations", "output_activations", "format")
_E4M3, _BYTE = "torch.float8_e4m3fn", "torch.uint8"


def read_group(name: str, group: Mapping[str, Any], form: Any) -> CompressedPacking | None:
    """How the linears of a group are stored; None where their weights are not quantized.

    Args:
        name: of the group, for errors.
        group: a `QuantizationScheme`.
        form: the format that the config names for all.

    Raises:
        ModelError: names the key that is not supported.
    """
    key = f"config_groups.{name}"
    for other in group:
        if other not in _GROUP_KEYS:
            raise refused(f"{key}.{other}", group[other], ["no such key"])
    if group.get("output_activations") is not None:
        raise refused(f"{key}.output_activations", group["output_activations"], [None])
    form = group.get("format") or form
    if form not in FORMATS:
        raise refused("format", form, FORMATS)
    inputs = _read_inputs(f"{key}.input_activations", group.get("input_activations"))
    if group.get("weights") is None:
        if inputs is not None:
            raise refused(f"{key}.weights", None, ["weights that are quantized as inputs are"])
        return None
    weights = _arguments(f"{key}.weights", group["weights"])
    if weights["dynamic"]:
        raise refused(f"{key}.weights.dynamic", weights["dynamic"], [False])
    if weights["type"] == "int":
        return _read_int(f"{key}.weights", weights, form, inputs)
    return _read_float(f"{key}.weights", weights, form, inputs)


def _read_int(
    key: str, weights: Mapping[str, Any], form: str, inputs: Inputs | None
) -> CompressedPacking:
    bits, strategy = weights["num_bits"], weights["strategy"]
    if bits not in range(1, 9):
        raise refused(f"{key}.num_bits", bits, range(1, 9))
    if strategy not in ("tensor", "channel", "group"):
        raise refused(f"{key}.strategy", strategy, ["tensor", "channel", "group"])
    size = weights["group_size"] if strategy == "group" else -1
    ordered = weights["actorder"] in ("group", "dynamic")
    if form == "pack-quantized":
        tensor = strategy == "tensor"
        if tensor and not weights["symmetric"]:
            raise refused(f"{key}.symmetric", False, ["true with strategy: tensor"])
        return PackQuantized(inputs, bits, size, weights["symmetric"], tensor, ordered)
    if form not in ("int-quantized", "naive-quantized") or ordered:
        raise ModelError(f"format: {form!r} does not hold the {key} of whole numbers", where=WHERE)
    return IntQuantized(inputs, bits, size, weights["symmetric"], strategy == "tensor")


def _read_float(
    key: str, weights: Mapping[str, Any], form: str, inputs: Inputs | None
) -> CompressedPacking:
    bits, strategy, size = weights["num_bits"], weights["strategy"], weights["group_size"]
    if not weights["symmetric"]:
        raise refused(f"{key}.symmetric", False, [True])
    if form == "nvfp4-pack-quantized" and (bits, strategy, size) == (4, "tensor_group", 16):
        return NVFP4(inputs)
    if form == "mxfp4-pack-quantized" and (bits, strategy, size) == (4, "group", 32):
        return MXFP4(inputs)
    if form == "mxfp8-quantized" and (bits, strategy, size) == (8, "group", 32):
        return FloatQuantized(inputs, 1, 32, powers=True)
    if form in ("float-quantized", "naive-quantized") and bits == 8:
        if strategy == "block":
            return FloatQuantized(inputs, *weights["block_structure"])
        blocks = {"tensor": (-1, -1), "channel": (1, -1), "group": (1, size)}
        if strategy in blocks:
            return FloatQuantized(inputs, *blocks[strategy])
    raise ModelError(
        f"{key}: {bits}-bit floats with strategy: {strategy!r} and group_size: {size!r} are not "
        f"supported in format: {form!r}",
        where=WHERE,
    )


def _read_inputs(key: str, given: Any) -> Inputs | None:
    if given is None:
        return None
    found = _arguments(key, given)
    bits, kind, strategy = found["num_bits"], found["type"], found["strategy"]
    if not found["symmetric"]:
        raise refused(f"{key}.symmetric", False, [True])
    names = {(8, "int"): "int8", (8, "float"): "e4m3", (4, "float"): "e2m1"}
    if (bits, kind) not in names:
        raise refused(f"{key}.num_bits", bits, ["8 bits, or 4 of type: float"])
    name: Any = names[bits, kind]
    if strategy == "tensor_group" and name == "e2m1" and found["dynamic"] == "local":
        return Inputs(name, "group", found["group_size"], scale="e4m3")
    if strategy == "tensor" and not found["dynamic"]:
        return Inputs(name, "tensor", static=True)
    if strategy not in ("token", "tensor", "group") or found["dynamic"] is not True:
        raise refused(
            f"{key}.strategy",
            f"{strategy}, dynamic: {found['dynamic']}",
            ["token, tensor or group with dynamic: true", "tensor with dynamic: false"],
        )
    powers = found["scale_dtype"] == _BYTE and found["group_size"] == 32
    return Inputs(name, strategy, found["group_size"], scale="e8m0" if powers else "float")


def _arguments(key: str, given: Any) -> dict[str, Any]:
    """A `QuantizationArgs` with what it leaves out; each value is of its key's type."""
    if not isinstance(given, Mapping):
        raise ModelError(f"{key}: {given!r} is no mapping", where=WHERE)
    for name in given:
        if name not in _DEFAULTS and name not in _SAID:
            raise refused(f"{key}.{name}", given[name], ["no such key"])
    found = {name: given.get(name, default) for name, default in _DEFAULTS.items()}
    size, block = found["group_size"], found["block_structure"]
    if found["type"] not in ("int", "float"):
        raise refused(f"{key}.type", found["type"], ["int", "float"])
    if not isinstance(found["symmetric"], bool):
        raise refused(f"{key}.symmetric", found["symmetric"], [True, False])
    if found["num_bits"] not in range(1, 33) or isinstance(found["num_bits"], bool):
        raise refused(f"{key}.num_bits", found["num_bits"], ["a whole number"])
    if size is not None and (type(size) is not int or size == 0 or size < -1):
        raise refused(f"{key}.group_size", size, [-1, "1 or more"])
    if found["strategy"] is None:
        found["strategy"] = "tensor" if size is None else "channel" if size == -1 else "group"
    if found["strategy"] in ("group", "tensor_group") and (size is None or size < 1):
        raise refused(f"{key}.group_size", size, ["1 or more with groups"])
    whole = isinstance(block, list) and len(block) == 2 and all(type(n) is int for n in block)
    if found["strategy"] == "block" and not (whole and min(block) > 0):
        raise refused(f"{key}.block_structure", block, ["two numbers"])
    return found


def write_group(packing: CompressedPacking, targets: list[str]) -> dict[str, Any]:
    """The group of linears that are stored so."""
    return {
        "targets": targets,
        "weights": _write_weights(packing),
        "input_activations": None if packing.inputs is None else _write_inputs(packing.inputs),
        "output_activations": None,
        "format": packing.compression,
    }


def _write_weights(packing: CompressedPacking) -> dict[str, Any]:
    if isinstance(packing, PackQuantized | IntQuantized):
        strategy = "channel" if packing.group_size == -1 else "group"
        found = _written(packing.bits, "int", "tensor" if packing.tensor else strategy)
        found["symmetric"] = packing.symmetric
        if strategy == "group":
            found["group_size"] = packing.group_size
        if isinstance(packing, PackQuantized) and packing.ordered:
            found["actorder"] = "group"
        return found
    if isinstance(packing, NVFP4):
        return _written(4, "float", "tensor_group") | {"group_size": 16, "scale_dtype": _E4M3}
    if isinstance(packing, MXFP4):
        return _written(4, "float", "group") | {"group_size": 32, "scale_dtype": _BYTE}
    assert isinstance(packing, FloatQuantized), "no other packing has this layout"
    block = packing.outputs, packing.group_size
    if packing.powers:
        return _written(8, "float", "group") | {"group_size": 32, "scale_dtype": _BYTE}
    if block in ((-1, -1), (1, -1)):
        return _written(8, "float", "tensor" if block[0] == -1 else "channel")
    if block[0] == 1:
        return _written(8, "float", "group") | {"group_size": block[1]}
    return _written(8, "float", "block") | {"block_structure": list(block)}


def _write_inputs(inputs: Inputs) -> dict[str, Any]:
    bits = 4 if inputs.kind == "e2m1" else 8
    found = _written(bits, "int" if inputs.kind == "int8" else "float", inputs.per)
    found["dynamic"] = not inputs.static
    if inputs.group_size is not None:
        found["group_size"] = inputs.group_size
    if inputs.scale == "e4m3":
        found |= {"strategy": "tensor_group", "dynamic": "local", "scale_dtype": _E4M3}
    elif inputs.scale == "e8m0":
        found["scale_dtype"] = _BYTE
    return found


def _written(bits: int, kind: str, strategy: str) -> dict[str, Any]:
    return {
        "num_bits": bits,
        "type": kind,
        "symmetric": True,
        "strategy": strategy,
        "group_size": None,
        "dynamic": False,
    }
