"""What objectives share whose examples are rows with one loss each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from torch import Tensor

from tfcli.train.batch import Batch, Example, side_by_side
from tfcli.train.feeds.columns import Table, examples_of
from tfcli.train.feeds.encoded import filling
from tfcli.train.feeds.pairs import ANSWERS, both_answers, pair_examples
from tfcli.train.objectives.objective import Examples, Forward, Material, Objective
from tfcli.train.spec import TrainSpec


class RowObjective(Objective):
    """One whose loss is a mean over rows, each of which has an entry in `labels`, [b, ...].

    Attributes:
        fill: what inputs are filled up with, once `feed` has seen the tokenizer.
    """

    unit: ClassVar[str] = "row"
    fill: Mapping[str, int] = {}

    def feed(self, material: Material) -> Examples:
        """Rows of columns. The table that is trained on comes first."""
        self.fill = filling(material.tokenizer)
        return examples_of(material.spec, lambda table: self.examples(material, table))

    @abstractmethod
    def examples(self, material: Material, table: Table) -> list[Example]:
        """The examples of a table.

        Raises:
            UsageError, WorkError: a row that it cannot be learned from; names the row.
        """

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A batch of examples, filled up at their ends."""
        return side_by_side(examples, self.fill)

    def count(self, batch: Batch) -> int:
        """Rows."""
        return len(batch["labels"])

    def loss(self, model: Forward, batch: Batch) -> Tensor:
        """The sum of the rows' losses."""
        output = model(**batch)
        assert output.loss is not None, "its head has a loss"
        return output.loss * self.count(batch)


class PairObjective(RowObjective):
    """One whose rows are prompts with two answers. Examples are those of `pair_examples`; a batch
    has both answers of each pair as rows of one forward pass, [2b, s]: all chosen ones first."""

    unit: ClassVar[str] = "pair"

    def examples(self, material: Material, table: Table) -> list[Example]:
        """Pairs of answers as ids."""
        return pair_examples(material, table)

    def widest(self, spec: TrainSpec) -> Example:
        """Two answers as long as a row may be."""
        ids = super().widest(spec)["input_ids"]
        return {**dict.fromkeys(ANSWERS, ids), "prompt": ids.new_ones(())}

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Both answers of each pair, filled up at their ends: [2b, s]."""
        return both_answers(examples, self.fill)

    def lengths(self, examples: Sequence[Example]) -> np.ndarray:
        """[n, 2] the longer answer's, for both are filled up to it."""
        longest = [max(len(each[name]) for name in ANSWERS) for each in examples]
        return np.repeat(np.array(longest, np.int64)[:, None], len(ANSWERS), axis=1)

    def count(self, batch: Batch) -> int:
        """Pairs."""
        return len(batch["input_ids"]) // 2
