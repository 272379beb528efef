"""Which K-type each tensor of a quantized GGUF file gets.

A mix has the name that llama.cpp's llama-quantize has for it, and gives each tensor the type that
that gives it (`llama_tensor_get_type_impl` and `tensor_type_fallback` in src/llama-quant.cpp of
ggml-org/llama.cpp): most have one type, and those where an error costs most a finer one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tfcli.checkpoints.gguf.choose import TypeOf, stays_single
from tfcli.checkpoints.gguf.types import BY_NAME
from tfcli.errors import UsageError, hint

_LAYER = re.compile(r"^blk\.(\d+)\.(.+)\.weight$")
_FALLBACKS = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
"""What stands in where rows are no whole blocks of 256."""

MIXES = {
    "Q2_K": ("Q2_K", 10),
    "Q2_K_S": ("Q2_K", 21),
    "Q3_K_S": ("Q3_K", 11),
    "Q3_K_M": ("Q3_K", 12),
    "Q3_K_L": ("Q3_K", 13),
    "Q4_K_S": ("Q4_K", 14),
    "Q4_K_M": ("Q4_K", 15),
    "Q5_K_S": ("Q5_K", 16),
    "Q5_K_M": ("Q5_K", 17),
    "Q6_K": ("Q6_K", 18),
    "Q8_0": ("Q8_0", 7),
}
"""Name -> the type of most tensors, and its number in `general.file_type`."""

BY_BITS = {2: "Q2_K_S", 3: "Q3_K_S", 4: "Q4_K_S", 5: "Q5_K_S", 6: "Q6_K", 8: "Q8_0"}
"""The mix with the fewest finer tensors."""


@dataclass(frozen=True)
class Shape:
    """What the choice looks at beside a tensor's name.

    Args:
        layers: how many.
        shared: query heads that share a key.
        experts: of a layer.
        tied: the embedding is the output matrix too.
    """

    layers: int
    shared: int = 1
    experts: int = 0
    tied: bool = False


def mix_chooser(mix: str, shape: Shape, overrides: Sequence[tuple[str, str]] = ()) -> TypeOf:
    """Which type a tensor gets: (GGUF name, dimensions, row width) -> (type, note).

    Args:
        mix: a key of `MIXES`.
        shape: of the model.
        overrides: (regular expression found in the GGUF name, type); the first that fits counts.

    Raises:
        UsageError: an unknown mix or type, or no regular expression.
    """
    if mix not in MIXES:
        raise UsageError(f"{mix!r} is no mix of K-types", fix=hint(mix, MIXES))
    rules = []
    for pattern, kind in overrides:
        if kind.upper() not in BY_NAME:
            raise UsageError(f"{kind!r} is no type of GGUF", fix=hint(kind.upper(), BY_NAME))
        try:
            rules.append((re.compile(pattern), kind.upper()))
        except re.error as error:
            raise UsageError(f"{pattern!r} is no regular expression: {error}") from None

    def choose(name: str, dimensions: int, width: int) -> tuple[str, str]:
        if stays_single(name, dimensions):
            return "F32", ""
        kind = next((kind for pattern, kind in rules if pattern.search(name)), None)
        return _fitting(kind or _kind(mix, shape, name), width)

    return choose


def _fitting(kind: str, width: int) -> tuple[str, str]:
    """The type, or what stands in for it where rows do not fill its blocks, and why."""
    found = kind
    while width % BY_NAME[found].block:
        found = _FALLBACKS.get(found, "F16")
    return found, "" if found == kind else f"rows of {width} do not fill {kind}'s blocks"


def _kind(mix: str, shape: Shape, name: str) -> str:
    most = MIXES[mix][0]
    if name == ("token_embd.weight" if shape.tied else "output.weight"):
        return "Q8_0" if mix == "Q8_0" else "Q6_K"
    found = _LAYER.match(name)
    if not found:
        return most
    layer, part = int(found[1]), found[2].removesuffix("_exps")
    finer = {
        "attn_v": _values,
        "attn_k": _keys,
        "attn_qkv": _values,
        "attn_output": _attention_output,
        "ffn_down": _down,
    }.get(part)
    return (finer(mix, shape, layer) if finer else None) or most


def _values(mix: str, shape: Shape, layer: int) -> str | None:
    found = _values_alone(mix, shape, layer)
    if shape.experts == 8:
        return "Q8_0"
    if shape.layers == 80 and shape.shared > 1 and (found or MIXES[mix][0]) in ("Q3_K", "Q4_K"):
        return "Q5_K"  # models of 70 B, where values are an eighth of the queries
    return found


def _values_alone(mix: str, shape: Shape, layer: int) -> str | None:
    if mix == "Q2_K":
        return "Q4_K" if shape.shared >= 4 else "Q3_K"
    if mix == "Q2_K_S":
        return "Q4_K" if shape.shared >= 4 else None
    if mix == "Q3_K_M":
        return "Q5_K" if layer < 2 else "Q4_K"
    if mix == "Q4_K_S":
        return "Q5_K" if layer < 4 else None
    if mix in ("Q4_K_M", "Q5_K_M"):
        return "Q6_K" if _more_bits(layer, shape.layers) else None
    return "Q5_K" if mix == "Q3_K_L" else None


def _keys(mix: str, shape: Shape, layer: int) -> str | None:
    return "Q8_0" if shape.experts == 8 else None


def _attention_output(mix: str, shape: Shape, layer: int) -> str | None:
    if shape.experts == 8:
        return "Q5_K" if mix in ("Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M") else None
    return {"Q2_K": "Q3_K", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K"}.get(mix)


def _down(mix: str, shape: Shape, layer: int) -> str | None:
    first = layer < shape.layers // 8
    if mix == "Q2_K_S":
        return "Q4_K" if first else None
    if mix == "Q3_K_M":
        return "Q5_K" if layer < shape.layers // 16 else "Q4_K"
    if mix == "Q4_K_S":
        return "Q5_K" if first else None
    if mix in ("Q4_K_M", "Q5_K_M"):
        return "Q6_K" if _more_bits(layer, shape.layers) else None
    return {"Q2_K": "Q3_K", "Q3_K_L": "Q5_K"}.get(mix)


def _more_bits(layer: int, layers: int) -> bool:
    """The first and the last eighth of the layers, and every third between."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2
