"""How many weights a checkpoint stands for, when some are packed into integers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tfcli.checkpoints.io.dtypes import BITS
from tfcli.checkpoints.io.header import TensorInfo
from tfcli.checkpoints.packed.fp8 import FLOATS, OF_INPUTS
from tfcli.errors import ModelError
from tfcli.models.layouts.auto_round import stands_for
from tfcli.models.layouts.tags import tag_of

Infos = Mapping[str, TensorInfo]


def count_parameters(
    infos: Iterable[TensorInfo], quantization: Mapping[str, Any] | None
) -> tuple[int, bool]:
    """The number of weights, and whether packed ones were counted as the weights they stand for.

    Args:
        infos: the stored tensors that are parameters.
        quantization: the config's quantization_config.

    Returns:
        (count, True); or (stored values, False) when the method's packing is not known.
    """
    by_name = {info.name: info for info in infos}
    if quantization is None:
        counter = _fp8 if _has_scaled_floats(by_name) else _plain
        return sum(counter(info, by_name, {}) for info in by_name.values()), True
    try:
        quantization = stands_for(quantization)
    except ModelError:
        return sum(info.elements for info in by_name.values()), False
    method = str(quantization.get("quant_method", ""))
    known = _METHODS.get(method)
    if known is None:
        return sum(info.elements for info in by_name.values()), False
    return sum(known(info, by_name, quantization) for info in by_name.values()), True


def _plain(info: TensorInfo, infos: Infos, settings: Mapping[str, Any]) -> int:
    return info.elements


def _gptq(info: TensorInfo, infos: Infos, settings: Mapping[str, Any]) -> int:
    # qweight [n*bits/32, m], beside it qzeros, scales and g_idx [n].
    module, _, leaf = info.name.rpartition(".")
    packed = infos.get(f"{module}.qweight")
    if packed is None or len(packed.shape) != 2:
        return info.elements
    if leaf != "qweight":
        return info.elements if leaf == "bias" else 0
    index = infos.get(f"{module}.g_idx")
    inputs = index.elements if index else info.shape[0] * 32 // _bits(settings)
    return inputs * info.shape[-1]


def _awq(info: TensorInfo, infos: Infos, settings: Mapping[str, Any]) -> int:
    # qweight [n, m*bits/32], beside it qzeros and scales.
    module, _, leaf = info.name.rpartition(".")
    packed = infos.get(f"{module}.qweight")
    if packed is None or len(packed.shape) != 2:
        return info.elements
    if leaf != "qweight":
        return info.elements if leaf == "bias" else 0
    return info.elements * 32 // _bits(settings)


def _bitsandbytes(info: TensorInfo, infos: Infos, settings: Mapping[str, Any]) -> int:
    # 4 bits: weight uint8 with two values a byte, and weight.absmax and others below it.
    # 8 bits: weight int8 with SCB (and weight_format) beside it.
    owner, _, leaf = info.name.rpartition(".")
    if f"{owner}.SCB" in infos and leaf in ("SCB", "weight_format"):
        return 0
    while owner:
        if owner in infos:
            return 0
        owner = owner.rpartition(".")[0]
    # Its bytes hold two values each, whatever the file calls them.
    packed = f"{info.name}.absmax" in infos
    return info.elements * BITS[info.dtype] // 4 if packed else info.elements


def _hqq(info: TensorInfo, infos: Infos, settings: Mapping[str, Any]) -> int:
    # W_q, whose last row of words may be filled up; beside it scale, and tensors that are options.
    module, _, leaf = info.name.rpartition(".")
    packed, scale = infos.get(f"{module}.W_q"), infos.get(f"{module}.scale")
    if packed is None or scale is None or leaf == "bias":
        return info.elements
    if leaf != "W_q":
        return 0
    said = settings.get("quant_config")
    said = said if isinstance(said, Mapping) else {}
    said = said if "weight_quant_params" in said else said.get(tag_of(module)) or {}
    options = said.get("weight_quant_params") or {}
    size = options.get("group_size")
    if isinstance(size, int):
        return scale.elements * size
    return info.elements * BITS[info.dtype] // _bits({"bits": options.get("nbits")})


def _torchao(info: TensorInfo, infos: Infos, settings: Mapping[str, Any]) -> int:
    # _weight_qdata [m, n]; of 4 bits in the plain packing, whose zero points are floats, [m, n/2].
    module, _, leaf = info.name.rpartition(".")
    if f"{module}._weight_qdata" not in infos or leaf == "bias":
        return info.elements
    if leaf != "_weight_qdata":
        return 0
    zeros = infos.get(f"{module}._weight_zero_point")
    halved = info.dtype == "I8" and zeros is not None and zeros.dtype != "I8"
    return info.elements * 2 if halved else info.elements


def _quanto(info: TensorInfo, infos: Infos, settings: Mapping[str, Any]) -> int:
    # weight._data [m, n]; or weight._data._data, whose last row of bytes may be filled up, with as
    # many columns as there are weights for each row of weight._scale.
    name, _, leaf = info.name.rpartition(".")
    if leaf in ("_scale", "_shift", "input_scale", "output_scale"):
        return 0
    scale = infos.get(f"{name.removesuffix('._data')}._scale")
    packed = leaf == "_data" and name.endswith("._data") and scale is not None
    return scale.elements * info.shape[-1] if packed and scale else info.elements


def _aqlm(info: TensorInfo, infos: Infos, settings: Mapping[str, Any]) -> int:
    # codes [m/a, n/b, books], beside it codebooks [books, size, a, b] and scales.
    module, _, leaf = info.name.rpartition(".")
    codes, books = infos.get(f"{module}.codes"), infos.get(f"{module}.codebooks")
    if codes is None or books is None or leaf == "bias":
        return info.elements
    return math.prod(codes.shape[:2]) * math.prod(books.shape[2:]) if leaf == "codes" else 0


def _eetq(info: TensorInfo, infos: Infos, settings: Mapping[str, Any]) -> int:
    return 0 if info.name.endswith(".weight_scales") else info.elements


def _fp8(info: TensorInfo, infos: Infos, settings: Mapping[str, Any]) -> int:
    # weight [m, n] of 8-bit floats, or of bytes with two each; also weight_scale_inv or _scale.
    if info.name.endswith(OF_INPUTS) or _scaled_by(info.name) in infos:
        return 0
    halved = info.dtype in ("I8", "U8") and f"{info.name}_scale_inv" in infos
    return info.elements * 2 if halved else info.elements


def _scaled_by(name: str) -> str:
    """The name of the tensor that one of this name has the scales of; empty where it has none."""
    ending = next((end for end in ("_scale_inv", "_scale") if name.endswith(end)), None)
    return "" if ending is None else name.removesuffix(ending)


def _has_scaled_floats(infos: Infos) -> bool:
    """Whether there are 8-bit floats with scales, which also a file without a config may have."""
    scaled = (infos.get(_scaled_by(name)) for name in infos)
    return any(info is not None and info.dtype in FLOATS for info in scaled)


def _mxfp4(info: TensorInfo, infos: Infos, settings: Mapping[str, Any]) -> int:
    # x_blocks [experts, m, groups, 16] with two values a byte, beside it x_scales.
    name = info.name.removesuffix("_scales")
    if name != info.name and f"{name}_blocks" in infos:
        return 0
    return info.elements * 2 if info.name.endswith("_blocks") else info.elements


def _compressed_tensors(info: TensorInfo, infos: Infos, settings: Mapping[str, Any]) -> int:
    # weight or weight_packed [m, words], beside it weight_scale and others. Floats of 4 bits are
    # packed in bytes, whole numbers of any width in 32-bit words.
    module, _, leaf = info.name.rpartition(".")
    if info.name.endswith(OF_INPUTS):
        return 0
    if f"{module}.weight_scale" not in infos or leaf in ("weight", "bias"):
        return info.elements
    if leaf != "weight_packed":
        return 0
    if info.dtype == "U8":
        return info.elements * 2
    return info.shape[0] * (math.prod(info.shape[1:]) * 32 // _bits_of(module, settings))


def _bits_of(module: str, settings: Mapping[str, Any]) -> int:
    """The bits of a module's group: names come before patterns, and these before the class."""
    groups = settings.get("config_groups")
    found: list[tuple[bool, bool, int]] = []
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        bits = weights.get("num_bits", 8) if isinstance(weights, Mapping) else None
        if not isinstance(bits, int) or bits < 1:
            continue
        for target in group.get("targets") or ():
            pattern = str(target).startswith("re:")
            if target in ("Linear", module) or (pattern and _fits(target[3:], module)):
                found.append((target == "Linear", pattern, bits))
    return min(found)[2] if found else 4


def _fits(pattern: str, name: str) -> bool:
    try:
        return re.match(pattern, name) is not None
    except re.error:
        return False


def _bits(settings: Mapping[str, Any]) -> int:
    bits = settings.get("bits", settings.get("w_bit", 4))
    return bits if isinstance(bits, int) and bits > 0 else 4


_METHODS: dict[str, Callable[[TensorInfo, Infos, Mapping[str, Any]], int]] = {
    "gptq": _gptq,
    "awq": _awq,
    "bitsandbytes": _bitsandbytes,
    "compressed-tensors": _compressed_tensors,
    "hqq": _hqq,
    "torchao": _torchao,
    "quanto": _quanto,
    "aqlm": _aqlm,
    "eetq": _eetq,
    "fp8": _fp8,
    "fbgemm_fp8": _fp8,
    "mxfp4": _mxfp4,
}
