"""The labels of rows as the loss of a classifier takes them, of texts and of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tfcli.console import Console
from tfcli.errors import UsageError
from tfcli.metrics.spec import OF_ONE_LABEL
from tfcli.models.config import BaseConfig
from tfcli.train.feeds.columns import Table
from tfcli.train.labels import Labels, as_number, check_labels, numbers_of, saved_for
from tfcli.train.measures.choose import chosen
from tfcli.train.measures.labels import LabelMeasure, NumberMeasure, SeveralMeasure
from tfcli.train.measures.measure import Measure

SINGLE, MULTI, REGRESSION = (
    "single_label_classification",
    "multi_label_classification",
    "regression",
)


class Targets:
    """What is to be said of rows: a number [], or 0 and 1 for each label [labels].

    Args:
        task: the head that says it.
        problem_type: what a label is; None for what the model or the data have.

    Attributes:
        config_keys: what config.json says of the labels, once the first table has come.
    """

    def __init__(self, task: str, problem_type: str | None = None) -> None:
        self.task, self.problem_type = task, problem_type
        self.labels: Labels | None = None
        self.config_keys: Mapping[str, Any] = {}

    def of(self, config: BaseConfig, table: Table) -> list[Tensor]:
        """The targets of rows. The first tables that come say which labels there are.

        Args:
            config: of the model.
            table: has a column `label`.

        Raises:
            UsageError: fewer labels than two, or a stream, and the model names none.
            WorkError: rows with wrong labels; names the row.
        """
        values = table.values("label")
        if self.problem_type is None:
            known = config.problem_type if saved_for(config, self.task) else None
            every = [value for each in table.together for value in each.values("label")]
            self.problem_type = known or kind_of(every)
        if self.problem_type == REGRESSION:
            self.config_keys = {
                "problem_type": REGRESSION,
                "id2label": {"0": "LABEL_0"},
                "label2id": {"LABEL_0": 0},
            }
            return [_number(table, number, value) for number, value in enumerate(values)]
        several = self.problem_type == MULTI
        lists = _lists(table, several)
        if self.labels is None:
            self.labels = Labels.first(config, self.task, table, lambda each: _lists(each, several))
            self.config_keys = {"problem_type": self.problem_type, **self.labels.config_keys}
        numbers = [numbers_of(table, number, row, self.labels) for number, row in enumerate(lists)]
        if not several:
            return [torch.tensor(row[0]) for row in numbers]
        return [
            torch.zeros(len(self.labels)).index_fill(0, torch.tensor(row, dtype=torch.int64), 1)
            for row in numbers
        ]

    def measure(self, asked: Sequence[str] | None, console: Console) -> Measure | None:
        """What is measured of labels, or of numbers; see `Objective.measure`."""
        if self.problem_type == REGRESSION:
            names = chosen(asked, "numbers", ("mse", "pearson", "spearman"), console)
            return NumberMeasure(names) if names else None
        names = chosen(asked, "labels", ("accuracy", "f1"), console)
        several = self.problem_type == MULTI
        single = [name for name in names if name in OF_ONE_LABEL]
        if several and single:
            raise UsageError(
                f"{single[0]} is of one label a row", where="metrics", fix="leave it out"
            )
        of = SeveralMeasure if several else LabelMeasure
        return of(names) if names else None


def _lists(table: Table, several: bool) -> list[list[Any]]:
    """The labels of each row of a table."""
    lists = table.lists("label") if several else [[value] for value in table.values("label")]
    for number, row in enumerate(lists):
        check_labels(table, number, row)
    return lists


def kind_of(values: Sequence[Any]) -> str:
    """What labels are: several where they are lists, numbers where one has a fraction's point, else
    one of a few."""
    if any(isinstance(value, list) for value in values):
        return MULTI
    return REGRESSION if any(isinstance(value, float) for value in values) else SINGLE


def _number(table: Table, number: int, value: Any) -> Tensor:
    found = as_number(value)
    if found is None:
        raise table.problem(number, f"the label {value!r} is no number")
    return torch.tensor(found)
