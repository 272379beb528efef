"""Label whole texts, or pairs of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from tfcli.errors import UsageError
from tfcli.train.batch import Example
from tfcli.train.feeds.columns import Table
from tfcli.train.feeds.encoded import encode, inputs_of
from tfcli.train.labels import Labels, as_number, check_labels, numbers_of, saved_for
from tfcli.train.measures.choose import chosen
from tfcli.train.measures.labels import LabelMeasure, NumberMeasure, SeveralMeasure
from tfcli.train.measures.measure import Measure
from tfcli.train.objectives.objective import Material
from tfcli.train.objectives.rows import RowObjective

SINGLE, MULTI, REGRESSION = (
    "single_label_classification",
    "multi_label_classification",
    "regression",
)


class SequenceClassification(RowObjective):
    """Examples have a text's inputs and `labels`: a number [], or 0 and 1 for each label [labels].

    The loss of a row is that of `losses.classification_loss`: cross entropy; the mean of a binary
    one over all labels; or the squared difference.

    Args:
        problem_type: what a label is; None for what the data have.
    """

    task: ClassVar[str] = "sequence-classification"
    new_head: ClassVar[bool] = True

    def __init__(self, problem_type: str | None = None) -> None:
        self.problem_type = problem_type
        self.labels: Labels | None = None

    def examples(self, material: Material, table: Table) -> list[Example]:
        """Texts with labels. The first tables that come say which labels there are."""
        targets = self._targets(material, table)
        pairs = table.texts("text_pair") if table.has("text_pair") else None
        batch = encode(material, table, table.texts("text"), pairs)
        inputs = inputs_of(material, batch)
        return [{**row, "labels": label} for row, label in zip(inputs, targets, strict=True)]

    def measure(self, asked: Sequence[str] | None, material: Material) -> Measure | None:
        """Of labels, or of numbers."""
        if self.problem_type == REGRESSION:
            usual = ("mse", "pearson", "spearman")
            names = chosen(asked, "numbers", usual, material.console)
            return NumberMeasure(names) if names else None
        names = chosen(asked, "labels", ("accuracy", "f1"), material.console)
        several = self.problem_type == MULTI
        if several and "matthews" in names:
            raise UsageError("matthews is of one label a row", where="metrics", fix="leave it out")
        of = SeveralMeasure if several else LabelMeasure
        return of(names) if names else None

    def _targets(self, material: Material, table: Table) -> list[Tensor]:
        """The labels of rows as the loss takes them."""
        values = table.values("label")
        if self.problem_type is None:
            every = [value for each in table.together for value in each.values("label")]
            self.problem_type = _declared(material) or kind_of(every)
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
            self.labels = Labels.first(
                material.config, self.task, table, lambda each: _lists(each, several)
            )
            self.config_keys = {"problem_type": self.problem_type, **self.labels.config_keys}
        numbers = [numbers_of(table, number, row, self.labels) for number, row in enumerate(lists)]
        if not several:
            return [torch.tensor(row[0]) for row in numbers]
        return [
            torch.zeros(len(self.labels)).index_fill(0, torch.tensor(row, dtype=torch.int64), 1)
            for row in numbers
        ]


def _lists(table: Table, several: bool) -> list[list[Any]]:
    """The labels of each row of a table."""
    lists = table.lists("label") if several else [[value] for value in table.values("label")]
    for number, row in enumerate(lists):
        check_labels(table, number, row)
    return lists


def _declared(material: Material) -> str | None:
    """What the labels of a classifier are that is trained further."""
    config = material.config
    return config.problem_type if saved_for(config, SequenceClassification.task) else None


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
