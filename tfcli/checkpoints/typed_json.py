"""Content of JSON files against the type that it should have."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError

T = TypeVar("T")


def fitting(model: TypeAdapter[T], value: Any, *, where: str, fix: str | None = None) -> T:
    """A value of which every key has the type that is read there; no text counts as a number.

    Args:
        model: the type; keys that it has not are left out.
        value: the content of a file.
        where: the file, for errors.
        fix: the way out, for errors.

    Raises:
        WorkError: naming the first key that does not fit.
    """
    try:
        return model.validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part)[:80] for part in first["loc"])
        what = first["msg"][0].lower() + first["msg"][1:]
        raise WorkError(f"{short(key)}: {what}" if key else what, where=where, fix=fix) from None
