"""Values of a config.json: numbers that JSON lacks, and values checked against annotations.

Nothing here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tfcli.models.errors import ModelError
from tfcli.models.limits import MAX_CONFIG_DEPTH, MAX_CONFIG_TEXT, MAX_POWER

WHERE = "config.json"
# JSON has no infinity; transformers writes {"__float__": "Infinity"}.
_TAG = "__float__"
_LARGEST = 10.0**MAX_POWER
_SPECIAL = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}


def decode_floats(value: Any) -> Any:
    """JSON with tagged numbers -> the numbers."""
    if isinstance(value, dict):
        tag = value.get(_TAG)
        if len(value) == 1 and isinstance(tag, str) and tag in _SPECIAL:
            return _SPECIAL[tag]
        return {key: decode_floats(item) for key, item in value.items()}
    return [decode_floats(item) for item in value] if isinstance(value, list) else value


def check_values(content: Mapping[str, Any]) -> None:
    """Refuse values that no config has, wherever they are, before anything is made of them.

    Raises:
        ModelError: lists in lists in lists, a text or a key as long as a file, or a number with
            which nothing finite can be computed.
    """
    waiting = [(key, key, value, 1) for key, value in content.items()]
    while waiting:
        outer, key, value, depth = waiting.pop()
        problem = None
        if isinstance(value, dict):
            waiting += [(outer, name, one, depth + 1) for name, one in value.items()]
        elif isinstance(value, list):
            waiting += [(outer, "", one, depth + 1) for one in value]
        elif isinstance(value, str) and len(value) > MAX_CONFIG_TEXT:
            problem = f"has a text of {len(value):,} characters, more than {MAX_CONFIG_TEXT:,}"
        elif isinstance(value, float) and math.isfinite(value) and abs(value) > _LARGEST:
            problem = f"has the number {value:g}, more than 1e{MAX_POWER}"
        elif isinstance(value, int) and abs(value) > 10**MAX_POWER:
            problem = f"has a number of {len(str(abs(value)))} digits, more than {MAX_POWER}"
        if len(str(key)) > MAX_CONFIG_TEXT:
            problem = f"has a key of {len(str(key)):,} characters"
        elif depth > MAX_CONFIG_DEPTH:
            problem = f"is nested more than {MAX_CONFIG_DEPTH} deep"
        if problem:
            named = str(outer)[:80]
            raise ModelError(f"{named} {problem}", where=f"{WHERE}, key {named}")


def encode_floats(value: Any) -> Any:
    """The inverse of `decode_floats`."""
    if isinstance(value, float) and not math.isfinite(value):
        tag = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        return {_TAG: tag}
    if isinstance(value, dict):
        return {key: encode_floats(item) for key, item in value.items()}
    return [encode_floats(item) for item in value] if isinstance(value, (list, tuple)) else value


_TYPES: dict[str, type | tuple[type, ...]] = {
    "int": int,
    "float": (int, float),
    "bool": bool,
    "str": str,
    "None": type(None),
    "list": list,
    "dict": dict,
    "Any": object,
}


def check_type(key: str, value: Any, annotation: str, what: str = "") -> None:
    """Check a value of a JSON file against a field's annotation (`int | None`, `list[str]`).

    Args:
        what: what the value is called; the key, where nothing is given.
    """
    parts = _split_union(annotation)
    options = [part.split("[")[0].strip() for part in parts]
    for option, part in zip(options, parts, strict=True):
        if isinstance(value, bool) and option != "bool":
            continue  # True is an int for Python, not for a reader of config.json
        if option == "float" and isinstance(value, int) and abs(value) > _LARGEST:
            continue  # no float is as large
        if isinstance(value, float) and math.isnan(value):
            continue
        if isinstance(value, list) and option == "list" and "[" in part:
            for one in value:
                check_type(key, one, part[part.index("[") + 1 : -1], f"an entry of {key}")
        if isinstance(value, _TYPES[option]):
            return
    shown = repr(value) if len(repr(value)) < 60 else type(value).__name__
    raise ModelError(
        f"{what or key} must be {' or '.join(options)}, not {shown}", where=f"{WHERE}, key {key}"
    )


def _split_union(annotation: str) -> list[str]:
    """Split `int | dict[str, int | None]` at its outer bars."""
    parts, depth, start = [], 0, 0
    for index, char in enumerate(annotation):
        depth += (char == "[") - (char == "]")
        if char == "|" and depth == 0:
            parts.append(annotation[start:index])
            start = index + 1
    return [part.strip() for part in (*parts, annotation[start:])]
