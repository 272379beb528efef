"""What a format is: the columns that it is known by, and what a row of it says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tfcli.checkpoints.strict_json import kind
from tfcli.data.formats.sample import Sample
from tfcli.data.rows import Row
from tfcli.errors import WorkError, hint


@dataclass(frozen=True)
class Format:
    """A form of rows.

    Args:
        name: what a recipe calls it.
        needs: columns that every row has.
        takes: columns that a row may have beside these.
        read: what a row with the columns says.
        example: a row, for messages.
    """

    name: str
    needs: tuple[str, ...]
    takes: tuple[str, ...]
    read: Callable[[Row], Sample]
    example: str

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are looked at."""
        return (*self.needs, *self.takes)

    def fits(self, row: Row) -> bool:
        """Whether a row has the columns of the format."""
        return all(row.values.get(name) is not None for name in self.needs)


def text_of(row: Row, column: str, *, default: str | None = None) -> str:
    """The text in a column.

    Args:
        default: what counts where there is nothing; None: that is an error.

    Raises:
        WorkError: the row has no such column, or something other than text in it.
    """
    value = row.values.get(column)
    if value is None and default is not None:
        return default
    if column not in row.values:
        raise WorkError(f"the row has no {column!r}", where=row.where, fix=hint(column, row.values))
    if not isinstance(value, str):
        raise WorkError(f"{column!r} is not text, but {kind(value)}", where=row.where)
    return value


def listed(row: Row, column: str) -> list[Any] | None:
    """The list in a column, also one that is spelt as JSON, as tables have it; None: there is none.

    Raises:
        WorkError: it is no list.
    """
    value = row.values.get(column)
    if isinstance(value, str):
        value = from_json(value, row, column) if value.strip() else None
    if value is not None and not isinstance(value, list):
        raise WorkError(f"{column!r} is no list, but {kind(value)}", where=row.where)
    return value


def from_json(text: str, row: Row, name: str) -> Any:
    """The value that a text spells.

    Raises:
        WorkError: it is no JSON; names the row.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WorkError(f"{name!r} is text that is not JSON: {error}", where=row.where) from error


def object_of(value: Any, row: Row, name: str) -> Mapping[str, Any]:
    """A value that is to be an object.

    Raises:
        WorkError: it is something else; names the row.
    """
    if not isinstance(value, Mapping):
        raise WorkError(f"{name} is no object, but {kind(value)}", where=row.where)
    return value
