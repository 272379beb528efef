"""From plain values to a typed spec, with errors that name the key, the file and the way out."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tfcli.errors import UsageError, hint, raise_found
from tfcli.recipe.document import Document
from tfcli.recipe.marks import Also, marks
from tfcli.recipe.spec import Section, section_at, section_of

S = TypeVar("S", bound=Section)


def build_spec(
    cls: type[S],
    values: dict[str, Any],
    document: Document | None = None,
    prefix: tuple[str, ...] = (),
) -> S:
    """Check `values` against a spec class.

    Args:
        cls: the spec class.
        values: its keys, nested as in a recipe.
        document: the file they came from, so that errors give the line.
        prefix: the path of `values` in that file.

    Raises:
        UsageError: naming every unknown key (with the nearest valid one), missing key, value of a
            wrong type and key without an effect.
    """
    found: list[UsageError] = []
    spec = try_spec(cls, values, found, document, prefix)
    raise_found(found, where=document.source if document else None)
    assert spec is not None, "without an error there is a spec"
    return spec


def try_spec(
    cls: type[S],
    values: dict[str, Any],
    found: list[UsageError],
    document: Document | None = None,
    prefix: tuple[str, ...] = (),
) -> S | None:
    """Like `build_spec`, but what is wrong goes into `found`, and the spec is None then."""
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            found.append(_describe(cls, item, document, prefix))
        return None


def canonical_key(cls: type[Section], key: str) -> str:
    """A dotted key under the names that the fields have: `window` becomes `sequence_length`."""
    first, dot, rest = key.partition(".")
    name = next((n for n, also in marks(cls.model_fields, Also) if first in also.names), first)
    section = section_of(cls.model_fields[name].annotation) if name in cls.model_fields else None
    return f"{name}{dot}{canonical_key(section, rest) if section and rest else rest}"


def _describe(
    cls: type[Section], item: ErrorDetails, document: Document | None, prefix: tuple[str, ...]
) -> UsageError:
    location = tuple(str(part) for part in item["loc"])
    what, fix, code = _words(cls, item, location)
    path = (*prefix, *location)
    where = _where(document, path, _also(cls, location))
    return UsageError(what, where=where or None, fix=fix, code=code)


def _words(
    cls: type[Section], item: ErrorDetails, location: tuple[str, ...]
) -> tuple[str, str | None, str]:
    """What is wrong, the way out, and the error's code."""
    key, kind, context = location[-1] if location else "", item["type"], item.get("ctx", {})
    if kind == "extra_forbidden":
        known = hint(key, _keys_at(cls, location[:-1]))
        return f"unknown key {key!r}", known, "usage.unknown_key"
    if kind == "missing":
        return f"{key!r} is required", f"give {'.'.join(location)}", "usage.missing_key"
    if kind == "no_effect":
        fix = f"leave it out, or choose {context['needs']}"
        return item["msg"], fix, "usage.no_effect"
    if kind == "given_twice":
        return item["msg"], "keep one of them", "usage.given_twice"
    message = item["msg"].removeprefix("Value error, ")
    if kind == "value_error":
        return message, None, "usage.wrong_value" if location else "usage.refused"
    message = f"{message[0].lower()}{message[1:]}, not {_short(item['input'])}"
    return message, None, "usage.wrong_value"


def _where(document: Document | None, path: tuple[str, ...], also: tuple[str, ...]) -> str:
    if document is None:
        return ".".join(path)
    spelt = next((name for name in also if (*path[:-1], name) in document.lines), None)
    return document.where((*path[:-1], spelt) if spelt else path)


def _also(cls: type[Section], location: tuple[str, ...]) -> tuple[str, ...]:
    """The other names of the field at a location."""
    *outer, name = location or ("",)
    inner = section_at(cls, tuple(outer))
    if inner is None:
        return ()
    return next((also.names for key, also in marks(inner.model_fields, Also) if key == name), ())


def _keys_at(cls: type[Section], path: tuple[str, ...]) -> list[str]:
    section = section_at(cls, path)
    return list(section.model_fields) if section else []


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
