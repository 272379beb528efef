"""What a head for labels says: the greatest, all that are likelier than not, or a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tfcli.models.losses import IGNORED
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput
from tfcli.train.batch import Batch
from tfcli.train.measures.measure import Compared


class LabelMeasure(Compared):
    """The label of each row, or of each choice, with the greatest logit."""

    def answers(
        self, model: Model, batch: Batch, output: ModelOutput, numbers: Sequence[int]
    ) -> Sequence[Any]:
        logits = _logits(output)
        return list(zip(logits.argmax(-1).tolist(), batch["labels"].tolist(), strict=True))


class SeveralMeasure(Compared):
    """0 and 1 for each label of a row: 1 where its probability is above a half."""

    def answers(
        self, model: Model, batch: Batch, output: ModelOutput, numbers: Sequence[int]
    ) -> Sequence[Any]:
        said, right = (_logits(output) > 0).long(), batch["labels"].long()
        return list(zip(said.tolist(), right.tolist(), strict=True))


class NumberMeasure(Compared):
    """The one output of each row."""

    def answers(
        self, model: Model, batch: Batch, output: ModelOutput, numbers: Sequence[int]
    ) -> Sequence[Any]:
        said = _logits(output).squeeze(-1)
        return list(zip(said.tolist(), batch["labels"].tolist(), strict=True))


class TagMeasure(Compared):
    """The names of the tags of each row's words.

    Args:
        names: of the metrics.
        tags: the name of each number.
    """

    def __init__(self, names: Sequence[str], tags: Sequence[str]) -> None:
        super().__init__(names)
        self.tags = tags

    def answers(
        self, model: Model, batch: Batch, output: ModelOutput, numbers: Sequence[int]
    ) -> Sequence[Any]:
        said, right = _logits(output).argmax(-1), batch["labels"]
        rows = zip(said, right, right != IGNORED, strict=True)
        return [(self._named(one[at]), self._named(other[at])) for one, other, at in rows]

    def _named(self, numbers: torch.Tensor) -> list[str]:
        return [self.tags[number] for number in numbers.tolist()]


class PairMeasure(Compared):
    """The scores of the better answers and of the others: the first half of a batch, the second."""

    def answers(
        self, model: Model, batch: Batch, output: ModelOutput, numbers: Sequence[int]
    ) -> Sequence[Any]:
        better, other = _logits(output).squeeze(-1).chunk(2)
        return list(zip(better.tolist(), other.tolist(), strict=True))


class VectorMeasure(Compared):
    """The vector of each row's anchor and that of its positive."""

    def answers(
        self, model: Model, batch: Batch, output: ModelOutput, numbers: Sequence[int]
    ) -> Sequence[Any]:
        vectors, rows = _logits(output).cpu().numpy(), len(batch["labels"])
        return list(zip(vectors[:rows], vectors[rows : 2 * rows], strict=True))


def _logits(output: ModelOutput) -> torch.Tensor:
    assert output.logits is not None, "the head has them"
    return output.logits.float()
