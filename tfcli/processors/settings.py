"""Settings of a processor: read from a file, changed by a call, written back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Self, get_type_hints

from pydantic import TypeAdapter

from tfcli.checkpoints.typed_json import fitting
from tfcli.errors import UsageError, WorkError, hint


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The base; fields are the keys of the file, under their Hugging Face names."""

    not_built: ClassVar[tuple[str, ...]] = ()
    """Keys that other processors have and that change the result, refused where they are set."""

    def check(self) -> None:
        """Refuse values that contradict each other.

        Raises:
            WorkError: `where` is the key.
        """

    def names(self) -> tuple[str, ...]:
        """The names of all settings."""
        return tuple(field.name for field in dataclasses.fields(self))

    def spelled(self, values: dict[str, Any]) -> dict[str, Any]:
        """Values as the fields have them, from any of the spellings that files and calls use."""
        return {key: _hashable(value) for key, value in values.items()}

    def written(self) -> dict[str, Any]:
        """Every setting that is not None, as a file has it."""
        found = {key: getattr(self, key) for key in self.names()}
        return {key: _plain(value) for key, value in found.items() if value is not None}

    def read(self, values: Mapping[str, Any], where: str) -> tuple[Self, dict[str, Any]]:
        """These settings with those of a file, and the file's keys that are none.

        Args:
            values: the file's content; a null says nothing.
            where: the file, for errors.

        Raises:
            WorkError: a value of the wrong type, values that contradict each other, or a key that
                changes the result in a way that is not built.
        """
        names = self.names()
        for key in self.not_built:
            if values.get(key) and key not in names:
                raise WorkError(
                    f"{key} changes the result in a way that this processor does not have",
                    where=where,
                    fix="use a processor that has it, or take the key out",
                )
        own = {key: one for key, one in values.items() if key in names and one is not None}
        others = {key: one for key, one in values.items() if key not in names}
        try:
            return self._with(own), others
        except WorkError as error:
            raise WorkError(error.what, where=f"{where}, {error.where}", fix=error.fix) from error

    def changed(self, given: Mapping[str, Any]) -> Self:
        """These settings with those of a call, of which None counts too.

        Raises:
            UsageError: no such setting, or a value that does not fit.
        """
        names = self.names()
        for key in given:
            if key not in names:
                raise UsageError(f"there is no setting {key!r}", fix=hint(key, names))
        try:
            return self._with(dict(given)) if given else self
        except WorkError as error:
            raise UsageError(error.what, where=error.where, fix=error.fix) from error

    def _with(self, values: dict[str, Any]) -> Self:
        hints = get_type_hints(type(self))
        values = {
            key: fitting(_adapter(hints[key]), value, where=key)
            for key, value in self.spelled(values).items()
        }
        made = dataclasses.replace(self, **values)
        made.check()
        return made


@cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint)


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    if hasattr(value, "written"):
        return value.written()
    return list(map(_plain, value)) if isinstance(value, tuple) else value
