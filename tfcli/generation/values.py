"""Reading the values of generation_config.json; each error names the key."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tfcli.errors import WorkError

WHERE = "generation_config.json"


def sequence(value: Any, key: str, limit: int) -> tuple[int, ...]:
    if not isinstance(value, list) or not value:
        raise WorkError(f"{key}: {value!r} is no list of ids", where=WHERE)
    return tuple(token_id(token, key, limit) for token in value)


def several_ids(content: Mapping[str, Any], key: str, limit: int) -> tuple[int, ...]:
    """Ids; a single one where the key may have several."""
    found = content.get(key)
    if type(found) is int and key.endswith("_id"):
        found = [found]
    return tuple(token_id(token, key, limit) for token in listed({key: found}, key))


def texts(content: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = content.get(key)
    texts = [found] if isinstance(found, str) else listed(content, key)
    if not all(isinstance(text, str) and text for text in texts):
        raise WorkError(f"{key}: must be texts, not {found!r}", where=WHERE)
    return tuple(texts)


def positive(value: float) -> bool:
    return value > 0


def share(value: float) -> bool:
    return 0 <= value <= 1


_KINDS: Mapping[Callable[[float], bool], str] = {
    positive: "a positive number",
    share: "a number from 0 to 1",
    math.isfinite: "a number",
}
"""What a number must be -> how an error says it."""


def number(
    content: Mapping[str, Any],
    key: str,
    default: float,
    holds: Callable[[float], bool] = math.isfinite,
) -> float:
    found = content.get(key)
    if found is None:
        return default
    if type(found) not in (int, float) or not holds(found):
        kind = _KINDS[holds]
        raise WorkError(f"{key}: must be {kind}, not {found!r}", where=WHERE)
    return float(found)


def count(content: Mapping[str, Any], key: str, default: int = 0) -> int:
    found = content.get(key)
    if found is None:
        return default
    if type(found) is not int or found < 0:
        raise WorkError(f"{key}: must be a whole number from 0, not {found!r}", where=WHERE)
    return int(found)


def one_id(content: Mapping[str, Any], key: str, limit: int) -> int | None:
    found = content.get(key)
    return None if found is None else token_id(found, key, limit)


def listed(content: Mapping[str, Any], key: str) -> list[Any]:
    found = content.get(key)
    if not isinstance(found, list | None):
        raise WorkError(f"{key}: must be a list, not {found!r}", where=WHERE)
    return found or []


def token_id(value: Any, key: str, limit: int | None = None) -> int:
    """A token id. One that ends a text may lie past the table: then it never comes."""
    is_id = isinstance(value, int) and not isinstance(value, bool)
    if not is_id or (limit is not None and not 0 <= value < limit):
        raise WorkError(f"{key}: {value!r} is no token id of the model", where=WHERE)
    return int(value)
