"""The members of a JSON object without its largest: a vocabulary is passed over, not parsed."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from tfcli.checkpoints.strict_json import parse_json, parse_object, short
from tfcli.errors import WorkError

_TEXT = rb'"(?:[^"\\]++|\\.)*+"'
_PLAIN = rb'(?:[^{}\[\]"]++|' + _TEXT + rb")*+"
_KEY = re.compile(rb"\s*(" + _TEXT + rb")\s*:\s*", re.S)
_SCALAR = re.compile(_TEXT + rb'|[^{}\[\]",\s]++', re.S)
# Lists without further ones are passed over at once: a vocabulary has one for each token.
_FLAT = re.compile(rb'(?:[^{}\[\]"]++|' + _TEXT + rb"|\[" + _PLAIN + rb"\])*+", re.S)
_START, _COMMA = re.compile(rb"\s*\{"), re.compile(rb"\s*,(?=\s*\")")
_OPEN_END, _CLOSE, _END = (
    re.compile(rb"\s*(?=\})"),
    re.compile(rb"\s*\}"),
    re.compile(rb"\s*\}\s*\Z"),
)


def read_members(data: bytes, wanted: Collection[str], where: str) -> dict[str, Any]:
    """The values of some keys of an object.

    Raises:
        WorkError: no JSON object, or a key that stands twice.
    """
    found: dict[str, Any] = {}
    seen: set[str] = set()
    between = _START.match(data)
    while between is not None and not _CLOSE.match(data, between.end()):
        key = _KEY.match(data, between.end())
        end = _value_end(data, key.end()) if key else None
        if key is None or end is None:
            raise _broken(data, where)
        name = parse_json(key[1], where=where)
        if name in seen:
            raise WorkError(f"the key {short(name)} stands twice", where=where)
        seen.add(name)
        if name in wanted:
            found[name] = parse_json(data[key.end() : end], where=where, what=name)
        between = _COMMA.match(data, end) or _OPEN_END.match(data, end)
    if between is None or not _END.match(data, between.end()):
        raise _broken(data, where)
    return found


def _broken(data: bytes, where: str) -> WorkError:
    """What is wrong with a text that is no object: where it ends to be JSON, if it does."""
    parse_object(data, where=where, what="the tokenizer")
    return WorkError("not a readable tokenizer", where=where)


def _value_end(data: bytes, at: int) -> int | None:
    """Where the value that begins at a place ends."""
    if data[at : at + 1] not in (b"{", b"["):
        scalar = _SCALAR.match(data, at)
        return scalar.end() if scalar else None
    depth = 0
    while True:
        letter = data[at : at + 1]
        if letter in (b"{", b"["):
            depth += 1
        elif letter in (b"}", b"]"):
            depth -= 1
        else:
            return None
        at += 1
        if depth == 0:
            return at
        flat = _FLAT.match(data, at)
        at = flat.end() if flat else at
