"""From plain values to a typed spec, with errors that name the key, the file and the way out."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tfcli.errors import UsageError, hint
from tfcli.recipe.document import Document
from tfcli.recipe.spec import Section, section_of

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
        UsageError: naming every unknown key (with the nearest valid one), missing key and value of
            a wrong type.
    """
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        problems = [_describe(cls, item, prefix) for item in error.errors(include_url=False)]
    if len(problems) == 1:
        path, what, fix = problems[0]
        raise UsageError(what, where=_where(document, path), fix=fix)
    listing = "\n".join(
        f"  {_where(document, path)}: {what}" + (f" ({fix})" if fix else "")
        for path, what, fix in problems
    )
    raise UsageError(
        f"{len(problems)} keys are wrong\n{listing}", where=document.source if document else None
    )


def _where(document: Document | None, path: tuple[str, ...]) -> str:
    return document.where(path) if document else ".".join(path)


def _describe(
    cls: type[Section], item: ErrorDetails, prefix: tuple[str, ...]
) -> tuple[tuple[str, ...], str, str | None]:
    location = tuple(str(part) for part in item["loc"])
    path, key = (*prefix, *location), location[-1] if location else ""
    if item["type"] == "extra_forbidden":
        return path, f"unknown key {key!r}", hint(key, _keys_at(cls, location[:-1]))
    if item["type"] == "missing":
        return path, f"{key!r} is required", f"give {'.'.join(location)}"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error":
        return path, message, None
    return path, f"{message[0].lower()}{message[1:]}, not {_short(item['input'])}", None


def _keys_at(cls: type[Section], path: tuple[str, ...]) -> list[str]:
    for part in path:
        field = cls.model_fields.get(part)
        section = section_of(field.annotation) if field else None
        if section is None:
            return []
        cls = section
    return list(cls.model_fields)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
