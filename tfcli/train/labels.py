"""The labels of a classifier: those that a model has, or those that are found in the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tfcli.errors import UsageError
from tfcli.models.config import BaseConfig
from tfcli.models.limits import MAX_LABELS
from tfcli.models.registry import get_family
from tfcli.train.feeds.columns import Table

Label = str | int


@dataclass(frozen=True)
class Labels:
    """The names of labels, in the order of their numbers.

    Args:
        names: each once.
    """

    names: Sequence[str]

    @classmethod
    def found(cls, labels: Iterable[Label]) -> Labels:
        """Those of some data: numbers in their order, or texts in that of the alphabet.

        Raises:
            UsageError: more than a config may have, or fewer than two, which leave nothing to
                learn.
        """
        values = set(labels)
        numbers = all(isinstance(value, int) for value in values)
        names = list(map(str, sorted(values))) if numbers else sorted(set(map(str, values)))
        if len(names) < 2:
            raise UsageError(
                f"all rows have the label {names[0]!r}" if names else "no row has a label",
                where="data",
                fix="give rows with two labels or more",
            )
        if len(names) > MAX_LABELS:
            raise UsageError(
                f"the data have {len(names):,} labels, at most {MAX_LABELS:,} are built",
                where="data",
                fix="problem_type: regression, where labels are numbers",
            )
        return cls(names)

    @classmethod
    def of_model(cls, config: BaseConfig, task: str) -> Labels | None:
        """Those of a model that was saved for a task, or of a new one whose config names them."""
        if not config.id2label or not saved_for(config, task):
            return None
        names = config.id2label
        return cls([str(names[number]) for number in sorted(names, key=int)])

    @classmethod
    def first(
        cls,
        config: BaseConfig,
        task: str,
        table: Table,
        rows: Callable[[Table], Sequence[Sequence[Label]]],
    ) -> Labels:
        """Those of a model, or those that are found in all tables that are trained on.

        Args:
            config, task: of the model; see `of_model`.
            table: one of the tables.
            rows: the labels of each row of a table.

        Raises:
            UsageError: the model says nothing of them, and rows come that are not read yet.
        """
        known = cls.of_model(config, task)
        if known is None and table.more:
            raise UsageError(
                "which labels there are is not known of a stream",
                where="stream",
                fix="leave it out, or name them: id2label in config, or of the model",
            )
        every = (label for each in table.together for row in rows(each) for label in row)
        return known or cls.found(every)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def number(self, label: Label) -> int | None:
        """The number of a label: that of its name, or the label itself where it is one; None
        where there is no such label."""
        known = self._numbers.get(str(label))
        if known is None and isinstance(label, int) and 0 <= label < len(self.names):
            return label
        return known

    def unknown(self, label: Label) -> str:
        """What is said of a label that there is not."""
        shown = ", ".join(self.names[:10]) + (", ..." if len(self.names) > 10 else "")
        return f"{label!r} is none of the {len(self.names):,} labels ({shown})"

    @property
    def config_keys(self) -> Mapping[str, Any]:
        """What config.json says of them."""
        return {
            "id2label": {str(number): name for number, name in enumerate(self.names)},
            "label2id": dict(self._numbers),
        }


def saved_for(config: BaseConfig, task: str) -> bool:
    """Whether a config is that of a model with a task's head: one that is new has any."""
    if not config.architectures:
        return True
    family = get_family(config.model_type)
    aliases = {name for name, meant in family.aliases.items() if meant == task}
    return not aliases.union([family.names[task]]).isdisjoint(config.architectures)


def as_number(value: Any) -> float | None:
    """A value of a row as a finite number, also where a .csv has it as text; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def check_labels(table: Table, number: int, row: Sequence[Any]) -> None:
    """Refuse a row with a label that is neither a text nor a whole number.

    Raises:
        WorkError: naming the row.
    """
    for label in row:
        if not isinstance(label, str | int) or isinstance(label, bool):
            raise table.problem(number, f"the label {label!r} is neither a text nor a whole number")


def numbers_of(table: Table, number: int, row: Sequence[Label], labels: Labels) -> list[int]:
    """The numbers of a row's labels.

    Raises:
        WorkError: there is no such label; naming the row.
    """
    found = []
    for label in row:
        known = labels.number(label)
        if known is None:
            raise table.problem(number, labels.unknown(label), "leave the row out")
        found.append(known)
    return found
