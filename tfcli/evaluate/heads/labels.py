"""Labels of data as those of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfcli.errors import UsageError, hint


class Labels:
    """The labels of a model, and what the data say for each.

    Args:
        names: of the model.
        given: what the task's file says: the names of the data's numbers, or data -> name.
        where: of the task's key, for errors.

    Raises:
        UsageError: the file gives a label that the model has not, or the model two of one name.
    """

    def __init__(
        self, names: Sequence[str], given: list[str] | dict[str, str] | None, where: str
    ) -> None:
        self.names, self._given, self._where = list(names), given, where
        self._numbers = {name: number for number, name in enumerate(self.names)}
        if len(self._numbers) < len(self.names):
            raise UsageError("the model has several labels of one name", where=where)
        for name in given.values() if isinstance(given, dict) else given or ():
            if name not in self._numbers:
                raise UsageError(
                    f"the model has no label {name!r}", where=where, fix=hint(name, self.names)
                )

    def number(self, value: Any, place: str) -> int:
        """The number of the model's label that a gold means.

        Args:
            value: a name, or a number; of CSV files a number's digits.
            place: of the gold, for errors.

        Raises:
            UsageError: the model has no such label.
        """
        name = self._name(value)
        if name is None:
            known = self._given if isinstance(self._given, dict) else self.names
            raise UsageError(
                f"{place} has the label {value!r}, which the model does not have",
                where=self._where,
                fix=f"{hint(str(value), [str(each) for each in known])}; labels: says which label "
                "of the model a gold means",
            )
        return self._numbers[name]

    def _name(self, value: Any) -> str | None:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(self._given, dict):
            return self._given.get(str(value))
        names = self.names if self._given is None else self._given
        if isinstance(value, str) and value in names:
            return value
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if isinstance(value, int) and 0 <= value < len(names):
            return names[int(value)]
        return None
