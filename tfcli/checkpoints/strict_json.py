"""The one reader of JSON: from files that may be hostile, priced before anything is parsed.

A key that stands twice with different values is refused wherever it is: readers differ in which one
counts, so what was checked might not be what is used. The same value twice says one thing, and
files that people have edited have that.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from tfcli.errors import WorkError
from tfcli.files import read_bounded
from tfcli.limits import JSON_BUDGET, LARGE_JSON_BUDGET, MAX_JSON, MAX_JSON_DEPTH
from tfcli.units import format_bytes

Numbers = Literal["finite", "infinite", "any"]

# 90,000 tensors in a header and 200,000 in an index are within BUDGET. LARGE is for what is one's
# own or a vocabulary: the largest in use, of 900,000 tokens, takes 1.1 GB.
MAX_BYTES, BUDGET, LARGE = MAX_JSON, JSON_BUDGET, LARGE_JSON_BUDGET
# What a value takes beside its text, from above: each `{` stands for a dictionary, and so on.
_PRICES = ((b"{", 120), (b"[", 64), (b":", 110), (b",", 40), (b'"', 30))
_WIDEST = tuple(bytes([lead]) for lead in range(0xF0, 0xF5))  # what letters of 4 bytes begin with
_HALF = re.compile("[\ud800-\udfff]")
_ESCAPED = re.compile(rb"\\u[dD]")  # how alone one can come out of valid UTF-8


def parse_json(
    data: bytes,
    *,
    where: str,
    what: str = "the JSON",
    budget: int = BUDGET,
    numbers: Numbers = "finite",
) -> Any:
    """Parse UTF-8 JSON.

    Args:
        data: the text.
        where: its file, for errors.
        what: the part of the file that it is, for errors.
        budget: bytes of memory that the result may take, estimated before anything is parsed.
        numbers: `finite` ones, as JSON has them; `infinite` ones too, as the config.json of Mamba 2
            and others says `Infinity`; or `any`, also NaN, as Python writes them.

    Raises:
        WorkError: not UTF-8, not JSON, a key that stands twice with different values, nesting or
            numbers beyond what Python parses, half of a surrogate pair, or values that take more
            memory than the budget.
    """
    cost = memory(data)
    if cost > budget:
        raise WorkError(
            f"{what} of {len(data):,} bytes would take {format_bytes(cost)} of memory, more than "
            f"the {format_bytes(budget)} that are allowed",
            where=where,
        )
    try:
        value = json.loads(
            data.decode("utf-8-sig"),  # editors put a byte order mark before it
            object_pairs_hook=_unique,
            parse_constant=_CONSTANTS[numbers],
            parse_float=None if numbers == "any" else _finite,
        )
        if data.count(b"[") + data.count(b"{") > MAX_JSON_DEPTH:
            _refuse_depth(value)
        if _ESCAPED.search(data):
            _refuse_halves(value)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise WorkError(f"not valid JSON: {reason}", where=where) from None
    return value


def parse_object(data: bytes, *, where: str, **options: Any) -> dict[str, Any]:
    """Parse UTF-8 JSON whose top level is an object; `options` are those of `parse_json`.

    Raises:
        WorkError: as `parse_json`, or no object.
    """
    value = parse_json(data, where=where, **options)
    if not isinstance(value, dict):
        raise WorkError(f"expected a JSON object, found {kind(value)}", where=where)
    return value


def read_json(path: Path, *, limit: int = MAX_BYTES, budget: int = LARGE) -> Any:
    """The content of a JSON file, with NaN and infinities as Python writes them.

    Args:
        path: the file.
        limit: bytes that it may have.
        budget: as in `parse_json`.

    Raises:
        WorkError: missing, no regular file, too long, or as `parse_json`; names the file.
    """
    return parse_json(read_bounded(path, limit), where=str(path), budget=budget, numbers="any")


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
        first: dict[str, Any] = {}
        for key, value in pairs:
            if not _same(first.setdefault(key, value), value):
                raise ValueError(f"the key {short(key)} stands twice, with different values")
    return found


def _same(one: Any, other: Any) -> bool:
    """Whether two values are one: 1, 1.0 and true are three, and NaN is itself."""
    return one is other or json.dumps(one) == json.dumps(other)


def _refuse_depth(value: Any) -> None:
    """What Python's parser just manages fails in every later walk through it."""
    level, depth = [value] if isinstance(value, (dict, list)) else [], 0
    while level:
        depth += 1
        if depth > MAX_JSON_DEPTH:
            raise ValueError(f"nested too deeply, more than {MAX_JSON_DEPTH} levels")
        inner = (one.values() if isinstance(one, dict) else one for one in level)
        level = [one for some in inner for one in some if isinstance(one, (dict, list))]


def _refuse_halves(value: Any) -> None:
    """Half of a surrogate pair passes the JSON parser and fails in every later write."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value)
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, str) and _HALF.search(value):
            raise ValueError(f"the text {short(value)} has half of a surrogate pair")


def memory(data: bytes) -> int:
    """Bytes of memory that `data` and parsing it take, estimated from above without parsing."""
    # Python keeps a text with the width of its widest letter. All of it is there twice: as the
    # text, and in the texts that are cut out of it, which grow by a quarter at a time.
    width = 1 if data.isascii() else 4 if any(byte in data for byte in _WIDEST) else 2
    values = sum(price * data.count(mark) for mark, price in _PRICES)
    return len(data) + 5 * width * len(data) // 2 + values


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {short(text, 40)} is too large")
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _infinity(name: str) -> float:
    return _no_constant(name) if name == "NaN" else float(name)


_CONSTANTS: dict[Numbers, Callable[[str], float]] = {
    "finite": _no_constant,
    "infinite": _infinity,
    "any": float,
}
