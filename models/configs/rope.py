"""Rotary position settings: read from both spellings of config.json, written in both.

transformers 5 keeps everything in `rope_parameters`; older files have `rope_theta` beside
`rope_scaling`, which vLLM and llama.cpp still read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfcli.models.config import WHERE, require
from tfcli.models.errors import ModelError, hint

# rope_type -> the keys that it cannot do without.
REQUIRED: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor",),
    "longrope": ("short_factor", "long_factor"),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
}
_NUMBERS = (
    "rope_theta",
    "factor",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
    "partial_rotary_factor",
)
_KNOWN = (*_NUMBERS, "rope_type", "type", "truncate", "short_factor", "long_factor")
IGNORED = {
    "attn_factor": "transformers computes it from the factor",
    "finetuned": "it says how the model was made",
    "extrapolation_factor": "transformers takes it for 1",
}
"""Keys of released configs that transformers does not read -> why nothing is lost."""
_LEARNED_LENGTH = ("llama3", "yarn", "longrope")  # these scale relative to the trained length


def read_rope(data: dict[str, Any], *, default_theta: float = 10000.0) -> dict[str, Any]:
    """Take the rotary keys out of a config dict and return `rope_parameters`, normalised.

    Always has `rope_type` and `rope_theta`. Precedence is transformers': `rope_scaling` over
    `rope_parameters`, and a value inside either over `rope_theta` beside it.

    Raises:
        ModelError: an unknown rope_type or key, a missing key, or a value that is not a number.
    """
    given = data.pop("rope_scaling", None) or data.pop("rope_parameters", None) or {}
    given = _mapping(given, "rope_parameters")
    data.pop("rope_parameters", None)
    theta = data.pop("rope_theta", None)
    partial = data.pop("partial_rotary_factor", None)
    rope = {k: value for k, value in given.items() if value is not None and k not in IGNORED}
    rope["rope_type"] = rope.get("rope_type", rope.get("type", "default"))
    rope.pop("type", None)
    rope.setdefault("rope_theta", default_theta if theta is None else theta)
    if partial is not None:
        rope.setdefault("partial_rotary_factor", partial)
    if rope["rope_type"] in _LEARNED_LENGTH:
        outside = data.get("original_max_position_embeddings")  # Phi-3 writes it beside, not inside
        if outside is not None:
            rope["original_max_position_embeddings"] = outside
        elif data.get("max_position_embeddings") is not None:
            rope.setdefault("original_max_position_embeddings", data["max_position_embeddings"])
    return rope


def config_notes(config: Mapping[str, Any]) -> list[str]:
    """What to say of the rotary settings of a config.json that are not read, without harm."""
    found: dict[str, None] = {}
    for name in ("rope_scaling", "rope_parameters"):
        settings = config.get(name)
        groups = [settings, *settings.values()] if isinstance(settings, dict) else []
        for group in groups:
            found |= dict.fromkeys(k for k in IGNORED if isinstance(group, dict) and k in group)
    return [f"rope_parameters.{key} is not read: {IGNORED[key]}" for key in found]


def write_rope(rope: dict[str, Any]) -> dict[str, Any]:
    """The config.json keys for normalised rotary settings, old and new spelling."""
    scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
    written = {
        "rope_parameters": dict(rope),
        "rope_theta": rope["rope_theta"],
        "rope_scaling": None if rope["rope_type"] == "default" else scaling,
    }
    if "partial_rotary_factor" in rope:
        written["partial_rotary_factor"] = rope["partial_rotary_factor"]
    return written


def read_layer_rope(
    data: dict[str, Any], bases: Mapping[str, tuple[str | None, float]]
) -> dict[str, dict[str, Any]]:
    """The same for a family whose types of layers have rotary settings of their own (Gemma 3).

    transformers 5 keeps one mapping for each type in `rope_parameters`. Older files have a base
    for each, and a `rope_scaling` for the type whose base is `rope_theta`.

    Args:
        data: the config dict.
        bases: type of layer -> the older key of its base, and the base where there is none. Key
            None: it shares `rope_theta`, without the scaling.

    Returns:
        type of layer -> normalised settings

    Raises:
        ModelError: as `read_rope`, or a type of layer that is not in `bases`.
    """
    given = _mapping(data.pop("rope_parameters", None), "rope_parameters")
    scaling = _mapping(data.pop("rope_scaling", None), "rope_scaling")
    if "type" in scaling:
        scaling = {"rope_type": scaling["type"], **scaling}
    for kind in given:
        if kind not in bases:
            raise ModelError(
                f"rope_parameters.{kind} is no type of layer",
                where=f"{WHERE}, key rope_parameters.{kind}",
                fix=hint(str(kind), bases),
            )
    rope, theta = {}, data.pop("rope_theta", None)
    for kind, (key, base) in bases.items():
        own = _mapping(given.get(kind), f"rope_parameters.{kind}")
        settings = {
            "rope_parameters": {**own, **scaling} if key == "rope_theta" else own,
            "rope_theta": theta if key in ("rope_theta", None) else data.pop(key, None),
            "max_position_embeddings": data.get("max_position_embeddings"),
        }
        rope[kind] = read_rope(settings, default_theta=base)
    return rope


def _mapping(value: Any, key: str) -> dict[str, Any]:
    """A mapping of config.json; empty where it is null or missing."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ModelError(f"{key} must be a mapping", where=f"{WHERE}, key {key}")
    return value


def write_layer_rope(
    rope: Mapping[str, dict[str, Any]], bases: Mapping[str, tuple[str | None, float]]
) -> dict[str, Any]:
    """The inverse of `read_layer_rope`, in both spellings."""
    written: dict[str, Any] = {"rope_parameters": {kind: dict(own) for kind, own in rope.items()}}
    for kind, (key, _) in bases.items():
        if key is None:
            continue
        old = write_rope(rope[kind])
        written[key] = old["rope_theta"]
        if key == "rope_theta":
            written["rope_scaling"] = old["rope_scaling"]
    return written


def check_rope(rope: dict[str, Any], head_dim: int, *, further: Sequence[str] = ()) -> None:
    """Refuse rotary settings that `layers/rotary.py` cannot compute.

    Args:
        rope: from `read_rope`.
        head_dim: width of a head, or of the part of it that is turned.
        further: keys that the family has beside those of all.
    """
    rope_type = rope["rope_type"]
    if rope_type not in tuple(REQUIRED):  # a file may have a list here, which has no hash
        raise ModelError(
            f"rope_type {rope_type!r} is not supported",
            where=f"{WHERE}, key rope_parameters.rope_type",
            fix=hint(str(rope_type), REQUIRED),
        )
    for key in rope:
        if key not in (*_KNOWN, *further):
            raise ModelError(
                f"rope_parameters.{key} is not supported",
                where=f"{WHERE}, key rope_parameters.{key}",
                fix=hint(key, (*_KNOWN, *further)),
            )
    for key in REQUIRED[rope_type]:
        require(key in rope, f"rope_parameters.{key}", f"is required by rope_type {rope_type}")
    for key in _NUMBERS:
        value = rope.get(key, 1.0)
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
        require(number, f"rope_parameters.{key}", f"must be a positive number, not {value!r}")
    partial = rope.get("partial_rotary_factor", 1.0)
    width = int(head_dim * partial)
    require(partial <= 1, "rope_parameters.partial_rotary_factor", f"is {partial}, more than 1")
    require(
        width >= 2 and width % 2 == 0,
        "head_dim",
        f"is {head_dim}, of which {width} are rotated; that must be an even number",
    )
    for key in ("short_factor", "long_factor"):
        if rope_type == "longrope":
            require(
                isinstance(rope[key], list) and len(rope[key]) == width // 2,
                f"rope_parameters.{key}",
                f"must be a list of {width // 2} numbers, one for each pair of a head",
            )
    if rope_type == "llama3":
        require(
            rope["high_freq_factor"] >= rope["low_freq_factor"],
            "rope_parameters.high_freq_factor",
            "is below low_freq_factor",
        )


def check_sections(sections: Any, width: int) -> None:
    """Refuse sections of M-RoPE that do not share out a head; see `Rotary`.

    Args:
        sections: pairs that turn by the time, the height and the width.
        width: of a head, or of the part of it that is turned.
    """
    key = "rope_parameters.mrope_section"
    counts = isinstance(sections, list) and len(sections) == 3
    counts = counts and all(type(count) is int and count >= 0 for count in sections)
    require(counts, key, f"must be three numbers of pairs, not {sections!r}")
    require(
        sum(sections) == width // 2,
        key,
        f"is {sections}, {sum(sections)} pairs in all, but a head of {width} has {width // 2}",
    )
