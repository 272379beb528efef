"""Rotary settings of config.json and of GGUF, both ways.

llama.cpp has linear and YaRN scaling as keys. Llama 3's scaling is a tensor of factors on the
wavelengths, `rope_freqs`; LongRoPE's two lists are tensors too.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.gguf.file_write import Value
from tfcli.checkpoints.gguf.rules import GGUFDialect
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError

if TYPE_CHECKING:
    from tfcli.models.configs.text import TextConfig

_LINEAR = {"factor": "factor"}
_YARN = {
    **_LINEAR,
    "beta_fast": "yarn_beta_fast",
    "beta_slow": "yarn_beta_slow",
}
LLAMA3_GUESSES = tuple((length, 1.0, 4.0) for length in (8192, 4096, 16384, 32768, 2048))


def rope_of(config: Any) -> dict[str, Any] | None:
    """The settings of the layers that see everything; None where positions are not rotary."""
    rope: dict[str, Any] | None = getattr(config, "rope_parameters", None)
    if rope is None:
        return None
    full: dict[str, Any] = rope.get("full_attention", rope)
    return full


def rotated(config: Any) -> int:
    """Elements of a head that are turned."""
    rope = rope_of(config) or {}
    return int(config.head_dim * rope.get("partial_rotary_factor", 1.0))


def write_positions(config: TextConfig, model_type: str) -> dict[str, Value]:
    """The keys of a config's rotary settings, without the architecture."""
    rope = rope_of(config)
    if rope is None:
        return {}
    found = {
        "rope.dimension_count": Value("uint32", rotated(config)),
        "rope.freq_base": Value("float32", float(rope["rope_theta"])),
    }
    local = getattr(config, "rope_parameters", {}).get("sliding_attention")
    if local is not None:
        found["rope.freq_base_swa"] = Value("float32", float(local["rope_theta"]))
    kind = rope["rope_type"]
    original = rope.get("original_max_position_embeddings")
    if kind in ("linear", "yarn", "longrope"):
        found["rope.scaling.type"] = Value("string", kind)
    for key, name in {"linear": _LINEAR, "yarn": _YARN}.get(kind, {}).items():
        if rope.get(key) is not None:
            found[f"rope.scaling.{name}"] = Value("float32", float(rope[key]))
    if kind == "yarn":
        # llama.cpp multiplies with this beside its own 1 + 0.1 ln(factor).
        own = 1 + 0.1 * math.log(rope["factor"]) if rope["factor"] > 1 else 1.0
        scale = yarn_attention(rope) / own
        if abs(scale - 1) > 1e-6:
            found["rope.scaling.attn_factor"] = Value("float32", scale)
    if kind == "longrope":
        found["rope.scaling.attn_factor"] = Value("float32", longrope_attention(config, rope))
    if kind in ("yarn", "longrope", "llama3") and original is not None:
        found["rope.scaling.original_context_length"] = Value("uint32", int(original))
    if model_type == "phi3" and kind == "default":
        length = getattr(config, "original_max_position_embeddings", None)
        if length is not None:
            found["rope.scaling.original_context_length"] = Value("uint32", length)
    return found


def yarn_attention(rope: Mapping[str, Any]) -> float:
    """YaRN's factor on queries and keys (transformers: modeling_rope_utils)."""

    def scale(factor: float, by: float = 1.0) -> float:
        return 0.1 * by * math.log(factor) + 1 if factor > 1 else 1.0

    given = rope.get("attention_factor")
    if given is not None:
        return float(given)
    factor = rope["factor"]
    if rope.get("mscale") and rope.get("mscale_all_dim"):
        return scale(factor, rope["mscale"]) / scale(factor, rope["mscale_all_dim"])
    return scale(factor)


def longrope_attention(config: Any, rope: Mapping[str, Any]) -> float:
    """LongRoPE's factor on queries and keys."""
    original = rope["original_max_position_embeddings"]
    return _longrope_scale(rope, config.max_position_embeddings, original)


def _longrope_scale(rope: Mapping[str, Any], length: int, original: int) -> float:
    given = rope.get("attention_factor")
    if given is not None:
        return float(given)
    ratio = rope.get("factor") or length / original
    if ratio <= 1 or original <= 1:
        return 1.0
    return math.sqrt(1 + math.log(ratio) / math.log(original))


def write_tables(config: TextConfig) -> dict[str, list[float]]:
    """The rotary tensors of a config: name -> values, float32 in the file."""
    rope = rope_of(config)
    if rope is None:
        return {}
    if rope["rope_type"] == "llama3":
        return {"rope_freqs.weight": llama3_factors(rope, rotated(config))}
    if rope["rope_type"] == "longrope":
        return {
            "rope_factors_long.weight": [float(x) for x in rope["long_factor"]],
            "rope_factors_short.weight": [float(x) for x in rope["short_factor"]],
        }
    return {}


def llama3_factors(rope: Mapping[str, Any], width: int) -> list[float]:
    """What each wavelength is stretched by (Llama 3.1's `apply_scaling`)."""
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    length = rope["original_max_position_embeddings"]
    found = []
    for pair in range(0, width, 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (pair / width)
        if wavelength < length / high:
            found.append(1.0)
        elif wavelength > length / low:
            found.append(float(rope["factor"]))
        else:
            smooth = (length / wavelength - low) / (high - low)
            found.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return found


_LEARNT = ("gpt2", "bert")  # families whose positions are a table
_KEYS = (
    "dimension_count",
    "freq_base",
    "scale_linear",  # how scaling.factor was spelt before
    "scaling.type",
    "scaling.factor",
    "scaling.attn_factor",
    "scaling.original_context_length",
    "scaling.yarn_beta_fast",
    "scaling.yarn_beta_slow",
)


def read_keys(model_type: str) -> set[str]:
    """The keys that `read_positions` follows, without the architecture."""
    own = {f"rope.{name}" for name in _KEYS}
    return own | {"rope.freq_base_swa"} if model_type == "gemma3_text" else own


def read_positions(
    metadata: Mapping[str, Any],
    dialect: GGUFDialect,
    found: Mapping[str, Any],
    where: str,
    tables: Callable[[str], list[float] | None],
) -> dict[str, Any]:
    """The config's rotary keys that a file says; empty where positions are not rotary.

    Raises:
        WorkError: a scaling that config.json cannot express.
    """
    if dialect.model_type in _LEARNT:
        return {}

    def get(name: str, default: Any = None) -> Any:
        value = metadata.get(f"{dialect.arch}.rope.{name}", default)
        kinds = str if name == "scaling.type" else (int, float)
        endless = isinstance(value, float) and not math.isfinite(value)
        if value is not None and (endless or not isinstance(value, kinds)):
            raise WorkError(f"{dialect.arch}.rope.{name}: expected one value", where=where)
        return value

    theta = shortest(get("freq_base", 10000.0))
    head = found.get("head_dim") or found["hidden_size"] // max(found["num_attention_heads"], 1)
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": theta}
    turned = get("dimension_count", head)
    if turned != head or dialect.model_type == "gpt_neox":
        rope["partial_rotary_factor"] = turned / max(head, 1)
    rope |= _scaling(get, rope, found, turned, where, tables)
    extra: dict[str, Any] = {}
    length = get("scaling.original_context_length")
    if dialect.model_type == "phi3" and length is not None:
        extra["original_max_position_embeddings"] = length
    if dialect.model_type == "gemma3_text":
        local = {"rope_type": "default", "rope_theta": shortest(get("freq_base_swa", 10000.0))}
        return {"rope_parameters": {"full_attention": rope, "sliding_attention": local}}
    return {"rope_parameters": rope, **extra}


def _scaling(
    get: Callable[..., Any],
    rope: Mapping[str, Any],
    found: Mapping[str, Any],
    width: int,
    where: str,
    tables: Callable[[str], list[float] | None],
) -> dict[str, Any]:
    """As llama.cpp reads them: a factor without a type is linear, 0 is no factor, a table of
    factors stands beside the rest.
    """
    kind, length = get("scaling.type", "linear"), get("scaling.original_context_length")
    if kind not in ("none", "linear", "yarn", "longrope"):
        raise WorkError(f"rope.scaling.type: {short(kind)} is not covered", where=where)
    factor = 1.0 if kind == "none" else get("scaling.factor", get("scale_linear")) or 1.0
    attention = get("scaling.attn_factor", 1.0)
    freqs = tables("rope_freqs.weight")
    long, brief = tables("rope_factors_long.weight"), tables("rope_factors_short.weight")
    out: dict[str, Any] = {}
    if freqs is None and long is not None and brief is not None and kind != "yarn":
        out = {
            "rope_type": "longrope",
            "long_factor": [shortest(x) for x in long],
            "short_factor": [shortest(x) for x in brief],
        }
        original = length or found["max_position_embeddings"]
        own = _longrope_scale(out, found["max_position_embeddings"], original)
        out |= {} if length is None else {"original_max_position_embeddings": length}
        if not math.isclose(own, attention, rel_tol=1e-6):
            out["attention_factor"] = shortest(attention)
        attention = 1.0
    elif freqs is None and kind == "yarn" and factor != 1:
        named = {key: get(f"scaling.{name}") for key, name in _YARN.items()}
        out = {"rope_type": kind} | {k: shortest(v) for k, v in named.items() if v is not None}
        out["factor"] = shortest(factor)
        out["original_max_position_embeddings"] = length or found["max_position_embeddings"]
        if attention != 1:
            own = 1 + 0.1 * math.log(factor) if factor > 1 else 1.0
            out["attention_factor"] = shortest(attention * own)
        factor = attention = 1.0
    elif freqs is not None:
        out = _llama3(freqs, rope, length, width, where)
    elif kind == "linear" and factor != 1:
        out = {"rope_type": "linear", "factor": shortest(factor)}
        factor = 1.0
    for name, value in (("factor", factor), ("attn_factor", attention)):
        if value != 1:
            kind = out.get("rope_type", kind)
            raise WorkError(
                f"rope.scaling.{name}: {shortest(value)} beside positions of the kind {kind} is "
                "nothing that a config.json can say",
                where=where,
            )
    return out


def _llama3(
    freqs: list[float], rope: Mapping[str, Any], length: int | None, width: int, where: str
) -> dict[str, Any]:
    """Llama 3's settings that give these factors: those of its releases are tried."""
    guesses = LLAMA3_GUESSES if length is None else ((length, 1.0, 4.0), *LLAMA3_GUESSES)
    for original, low, high in guesses:
        settings = {
            "rope_type": "llama3",
            "factor": max(freqs, default=1.0),
            "low_freq_factor": low,
            "high_freq_factor": high,
            "original_max_position_embeddings": original,
        }
        made = llama3_factors({**rope, **settings}, width)
        if len(made) == len(freqs) and all(
            math.isclose(a, b, rel_tol=1e-5) for a, b in zip(made, freqs, strict=True)
        ):
            return settings
    raise WorkError(
        "rope_freqs.weight: no settings of Llama 3's scaling give these factors", where=where
    )


def shortest(value: float) -> float:
    """The shortest decimal that rounds to the same float32: 1e-06, not 9.999999974752427e-07."""
    for digits in range(1, 10):
        text = float(f"{value:.{digits}g}")
        if struct.pack("<f", text) == struct.pack("<f", value):
            return text
    return value
