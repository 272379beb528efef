"""Put texts that belong together near each other (InfoNCE, van den Oord et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from tfcli.checkpoints.pooling import read_pooling
from tfcli.errors import UsageError
from tfcli.train.batch import Batch, Example, side_by_side
from tfcli.train.feeds.columns import Table
from tfcli.train.feeds.encoded import encode
from tfcli.train.measures.choose import chosen
from tfcli.train.measures.labels import VectorMeasure
from tfcli.train.measures.measure import Measure
from tfcli.train.objectives.objective import Examples, Forward, Material
from tfcli.train.objectives.rows import RowObjective
from tfcli.train.spec import TrainSpec

PAIR, WITH_NEGATIVES = ("anchor", "positive"), ("anchor", "positive", "negative")


class Contrastive(RowObjective):
    """Examples have the ids of texts, `anchor`, `positive` and, where rows have one, `negative`;
    each [s] of its own. In a batch all texts of a kind stand before those of the next, [2b, s] or
    [3b, s].

    A vector is the mean of a text's states, of length 1. The loss of a row is the cross entropy of
    its positive among the positives and negatives of all rows of its forward pass, by their
    products over the temperature. So it depends on the rows that it is beside, unlike those of
    other objectives: `batch_size` says how many, and neither passes nor processes add to them.

    Args:
        temperature: what products are divided by.
        batch_size: rows of a forward pass.
    """

    task: ClassVar[str] = "embedding"

    def __init__(self, temperature: float, batch_size: int) -> None:
        self.temperature, self.batch_size = temperature, batch_size

    def feed(self, material: Material) -> Examples:
        """Rows of texts that belong together.

        Raises:
            UsageError: a row has nothing to be compared with, or a model whose vectors are made
                otherwise.
        """
        declared = read_pooling(material.companions)
        if declared is not None and declared.modes != ["mean"]:
            raise UsageError(
                f"the model's vectors are made by {' and '.join(declared.modes)}, and means are "
                "learned here",
                where="model",
                fix=f"change {declared.place}/config.json, if they are to be means from now on",
            )
        return super().feed(material)

    def examples(self, material: Material, table: Table) -> list[Example]:
        """Texts that belong together, as ids."""
        kinds = WITH_NEGATIVES if table.has("negative") else PAIR
        if kinds is PAIR and min(self.batch_size, len(table)) < 2:
            raise UsageError(
                "a row alone has no other positive to be compared with",
                where="batch_size" if self.batch_size < 2 else "data",
                fix="give at least 2 rows at once, or a column of negatives: columns.negative",
            )
        texts = [encode(material, table, table.texts(kind)).ids for kind in kinds]
        rows = zip(*texts, strict=True)
        return [dict(zip(kinds, map(torch.tensor, row), strict=True)) for row in rows]

    def measure(self, asked: Sequence[str] | None, material: Material) -> Measure | None:
        """Of the place of each positive among all of the validation."""
        names = chosen(asked, "retrieval", ("mrr", "recall_at_1"), material.console)
        return VectorMeasure(names) if names else None

    def widest(self, spec: TrainSpec) -> Example:
        """Without a negative, unless columns name one: whether rows have one, the data say."""
        ids = super().widest(spec)["input_ids"]
        return dict.fromkeys(WITH_NEGATIVES if "negative" in spec.columns else PAIR, ids)

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A batch of texts, filled up at their ends."""
        ids = [example[kind] for kind in examples[0] for example in examples]
        rows = [{"input_ids": each, "attention_mask": torch.ones_like(each)} for each in ids]
        return {**side_by_side(rows, self.fill), "labels": torch.arange(len(examples))}

    def loss(self, model: Forward, batch: Batch) -> Tensor:
        """The sum of the rows' losses."""
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        vectors = model(**inputs).logits
        assert vectors is not None, "its head has them"
        labels = batch["labels"]
        anchors, others = vectors.float().tensor_split([len(labels)])
        return F.cross_entropy(anchors @ others.T / self.temperature, labels, reduction="sum")
