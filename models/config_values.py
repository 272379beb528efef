"""Values of a config.json: numbers that JSON lacks, and values checked against annotations.

Nothing here imports torch.
"""

from __future__ import annotations

import math
import sys
from typing import Any

from tfcli.models.errors import ModelError

WHERE = "config.json"
# JSON has no infinity; transformers writes {"__float__": "Infinity"}.
_TAG = "__float__"
_LARGEST = sys.float_info.max
_SPECIAL = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}


def decode_floats(value: Any) -> Any:
    """JSON with tagged numbers -> the numbers."""
    if isinstance(value, dict):
        if set(value) == {_TAG} and value[_TAG] in _SPECIAL:
            return _SPECIAL[value[_TAG]]
        return {key: decode_floats(item) for key, item in value.items()}
    return [decode_floats(item) for item in value] if isinstance(value, list) else value


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
}


def check_type(key: str, value: Any, annotation: str) -> None:
    """Check a value of a JSON file against a field's annotation (`int | None`, `list[str]`)."""
    options = [part.split("[")[0].strip() for part in _split_union(annotation)]
    for option in options:
        if isinstance(value, bool) and option != "bool":
            continue  # True is an int for Python, not for a reader of config.json
        if option == "float" and isinstance(value, int) and abs(value) > _LARGEST:
            continue  # no float is as large
        if isinstance(value, float) and math.isnan(value):
            continue
        if isinstance(value, _TYPES[option]):
            return
    shown = repr(value) if len(repr(value)) < 60 else type(value).__name__
    raise ModelError(
        f"{key} must be {' or '.join(options)}, not {shown}", where=f"{WHERE}, key {key}"
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
