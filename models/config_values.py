"""Values of a config.json: numbers that JSON lacks, and values checked against types.

Nothing here imports torch.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union

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


_PLAIN = (int, float, bool, str, NoneType, list, dict)


@cache
def field_types(config: type[Any]) -> dict[str, Any]:
    """Field of a config class -> the type that its annotation stands for.

    Raises:
        ModelError: a name that its module does not have, or a type that no value of a config.json
            is checked against.
    """
    try:
        hints = typing.get_type_hints(config)
    except NameError as error:
        raise ModelError(
            f"the types of its fields cannot be told: {error}",
            where=config.__name__,
            fix="import what the annotations name, outside of `if TYPE_CHECKING`",
        ) from error
    found = {field.name: hints[field.name] for field in dataclasses.fields(config)}
    for name, hint in found.items():
        unknown = next((one for one in _parts(hint) if not _is_known(one)), None)
        if unknown is not None:
            raise ModelError(
                f"the field {name} has the type {_named(unknown)}, which no value is checked for",
                where=config.__name__,
                fix="known are int, float, bool, str, None, list, tuple, dict, Literal, Any, "
                "configs, and unions of these",
            )
    return found


def check_type(key: str, value: Any, hint: Any, what: str = "") -> None:
    """Check a value of a JSON file against a field's type (`int | None`, `list[str]`).

    JSON has no tuples: a list takes the place of one.

    Args:
        hint: as `field_types` gives it.
        what: what the value is called; the key, where nothing is given.

    Raises:
        ModelError: it is of none of the types, or an entry of it is not.
    """
    options = _options(hint)
    if any(_fits(key, value, option) for option in options):
        return
    shown = repr(value) if len(repr(value)) < 60 else type(value).__name__
    wanted = " or ".join(map(_named, options))
    raise ModelError(f"{what or key} must be {wanted}, not {shown}", where=f"{WHERE}, key {key}")


def _fits(key: str, value: Any, option: Any) -> bool:
    """Whether a value is of a type that is no union; its entries are checked where it is."""
    kind, entries = typing.get_origin(option) or option, typing.get_args(option)
    if kind in (Any, object):
        return True
    if kind is Literal:
        return any(type(value) is type(one) and value == one for one in entries)
    if isinstance(value, bool) and kind is not bool:
        return False  # True is an int for Python, not for a reader of config.json
    if kind is float:
        return isinstance(value, (int, float)) and abs(value) <= math.inf and not _too_large(value)
    if kind is tuple:
        return isinstance(value, (list, tuple)) and _fill(key, value, entries)
    if not isinstance(value, kind):
        return False
    if kind is list and entries:
        for one in value:
            check_type(key, one, entries[0], f"an entry of {key}")
    return True


def _too_large(value: float) -> bool:
    """Whether it is an integer that no float is as large as."""
    return isinstance(value, int) and abs(value) > _LARGEST


def _fill(key: str, value: Sequence[Any], entries: tuple[Any, ...]) -> bool:
    """Whether a tuple has as many entries as its type says; each is checked."""
    if len(entries) == 2 and entries[1] is Ellipsis:
        entries = (entries[0],) * len(value)
    if entries and len(entries) != len(value):
        return False
    for one, hint in zip(value, entries, strict=False):
        check_type(key, one, hint, f"an entry of {key}")
    return True


def _options(hint: Any) -> tuple[Any, ...]:
    """The types of a union; the type itself where it is none."""
    return typing.get_args(hint) if typing.get_origin(hint) in (Union, UnionType) else (hint,)


def _parts(hint: Any) -> Iterator[Any]:
    """The types that a type is made of, without unions."""
    for option in _options(hint):
        yield option
        if typing.get_origin(option) is not Literal:
            for inner in typing.get_args(option):
                yield from () if inner is Ellipsis else _parts(inner)


def _is_known(hint: Any) -> bool:
    kind = typing.get_origin(hint) or hint
    return kind in (*_PLAIN, tuple, Literal, Any, object) or dataclasses.is_dataclass(kind)


def _named(hint: Any) -> str:
    """What a type is called in an error."""
    kind = typing.get_origin(hint) or hint
    if kind is NoneType:
        return "None"
    if kind is Literal:
        return " or ".join(map(repr, typing.get_args(hint)))
    if kind is tuple and Ellipsis not in typing.get_args(hint):
        return f"a list of {len(typing.get_args(hint))}" if typing.get_args(hint) else "list"
    return "list" if kind is tuple else getattr(kind, "__name__", str(kind))
