"""Choose the one of several texts that fits a question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from tfcli.train.batch import Batch, Example, side_by_side
from tfcli.train.feeds.columns import Table
from tfcli.train.feeds.encoded import encode, inputs_of
from tfcli.train.measures.choose import chosen
from tfcli.train.measures.labels import LabelMeasure
from tfcli.train.measures.measure import Measure
from tfcli.train.objectives.objective import Material
from tfcli.train.objectives.rows import RowObjective
from tfcli.train.spec import TrainSpec

USUAL_CHOICES = 4


class MultipleChoice(RowObjective):
    """Examples have the inputs of a question with each of its choices [choices, s], and `labels`
    [], the number of the right one. The loss of a row is the cross entropy of its choices."""

    task: ClassVar[str] = "multiple-choice"
    new_head: ClassVar[bool] = True

    def examples(self, material: Material, table: Table) -> list[Example]:
        """Questions with choices, all with as many."""
        choices, labels = table.text_lists("choices"), table.values("label")
        count = len(table.together[0].text_lists("choices")[0])
        for number, (row, label) in enumerate(zip(choices, labels, strict=True)):
            _check(table, number, row, label, count)
        each = [(row, text) for row in range(len(table)) for text in choices[row]]
        # A question stands in a row with each choice.
        apart = Table([table.rows[row] for row, _ in each], table.columns)
        batch = encode(material, apart, apart.texts("question"), [text for _, text in each])
        inputs = inputs_of(material, batch)
        examples: list[Example] = []
        for number, label in enumerate(labels):
            together = side_by_side(inputs[number * count : (number + 1) * count], self.fill)
            examples.append({**together, "labels": torch.tensor(int(label))})
        return examples

    def measure(self, asked: Sequence[str] | None, material: Material) -> Measure | None:
        """Of the numbers of choices."""
        names = chosen(asked, "labels", ("accuracy",), material.console)
        return LabelMeasure(names) if names else None

    def lengths(self, examples: Sequence[Example]) -> np.ndarray:
        """[n, choices] the longest choice's, for all are filled up to it."""
        shapes = [tuple(each["input_ids"].shape) for each in examples]
        return np.array([[length] * choices for choices, length in shapes], np.int64)

    def widest(self, spec: TrainSpec) -> Example:
        """With `USUAL_CHOICES`: how many there are, the data say."""
        example = super().widest(spec)
        choices = {
            name: each.expand(USUAL_CHOICES, -1) for name, each in example.items() if each.ndim
        }
        return {**example, **choices}

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A batch of questions, filled up at the ends of their choices: [b, choices, s]."""
        names = [name for name in examples[0] if name != "labels"]
        count = len(examples[0][names[0]])
        rows = [
            {name: example[name][choice] for name in names}
            for example in examples
            for choice in range(count)
        ]
        batch = side_by_side(rows, self.fill)
        shaped = {name: tensor.unflatten(0, (-1, count)) for name, tensor in batch.items()}
        return {**shaped, "labels": torch.stack([example["labels"] for example in examples])}


def _check(table: Table, number: int, row: Sequence[str], label: object, count: int) -> None:
    if len(row) != count or count < 2:
        raise table.problem(
            number,
            f"there are {len(row)} choices"
            + (f", and {count} in the first row" if len(row) != count else ""),
            "give every row as many choices, at least 2",
        )
    right = str(label)
    if isinstance(label, bool) or not right.isdecimal() or int(right) >= count:
        raise table.problem(
            number, f"the label {label!r} is no number of a choice, 0 to {count - 1}"
        )
