"""JSON from files that may be hostile: duplicate keys and non-numbers are refused."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from tfcli.errors import WorkError


def parse_object(data: bytes, *, where: str) -> dict[str, Any]:
    """Parse UTF-8 JSON whose top level is an object.

    Raises:
        WorkError: not UTF-8, not JSON, not an object, a key that stands twice, NaN or infinity,
            nesting or numbers beyond what Python parses, half of a surrogate pair.
    """
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise WorkError(f"not valid JSON: {reason}", where=where) from None
    if not isinstance(value, dict):
        raise WorkError(f"expected a JSON object, found {kind(value)}", where=where)
    return value


def kind(value: Any) -> str:
    """What a JSON value is, in JSON's own words."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return names.get(type(value), "null" if value is None else "a number")


def short(name: str, limit: int = 80) -> str:
    """A name from a file, quoted, with control characters escaped and cut to `limit`."""
    return repr(name) if len(name) <= limit else repr(name[:limit]) + "..."


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {short(twice)} stands twice")
    for key in found:
        # Half of a surrogate pair passes the JSON parser and fails in every later write.
        key.encode("utf-8")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
