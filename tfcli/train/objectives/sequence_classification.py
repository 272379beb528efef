"""Label whole texts, or pairs of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tfcli.train.batch import Example
from tfcli.train.feeds.columns import Table
from tfcli.train.feeds.encoded import encode, inputs_of
from tfcli.train.measures.measure import Measure
from tfcli.train.objectives.objective import Material
from tfcli.train.objectives.rows import RowObjective
from tfcli.train.targets import Targets


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
        self.targets = Targets(self.task, problem_type)

    def examples(self, material: Material, table: Table) -> list[Example]:
        """Texts with labels. The first tables that come say which labels there are."""
        targets = self.targets.of(material.config, table)
        self.config_keys = self.targets.config_keys
        pairs = table.texts("text_pair") if table.has("text_pair") else None
        batch = encode(material, table, table.texts("text"), pairs)
        inputs = inputs_of(material, batch)
        return [{**row, "labels": label} for row, label in zip(inputs, targets, strict=True)]

    def measure(self, asked: Sequence[str] | None, material: Material) -> Measure | None:
        """Of labels, or of numbers."""
        return self.targets.measure(asked, material.console)
