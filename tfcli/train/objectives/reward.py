"""Give the better of two answers the greater number (Ouyang et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from tfcli.train.batch import Batch, Example
from tfcli.train.feeds.columns import examples_of
from tfcli.train.feeds.encoded import filling
from tfcli.train.feeds.pairs import both_answers, pair_examples
from tfcli.train.objectives.objective import Examples, Forward, Material, Objective


class Reward(Objective):
    """Examples are those of `pair_examples`. The model has one output, for a prompt with an answer.

    The loss of a pair is how improbable it is that the chosen answer is preferred, where its log
    odds are the difference of both outputs (Bradley and Terry 1952).
    """

    task: ClassVar[str] = "sequence-classification"
    new_head: ClassVar[bool] = True
    unit: ClassVar[str] = "pair"
    config_keys: Mapping[str, Any] = MappingProxyType(
        {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}, "problem_type": None}
    )

    def __init__(self) -> None:
        self.fill: Mapping[str, int] = {}

    def feed(self, material: Material) -> Examples:
        """Rows of prompts with two answers."""
        self.fill = filling(material.tokenizer)
        return examples_of(material.spec, lambda table: pair_examples(material, table))

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Both answers of each pair, filled up at their ends: [2b, s]."""
        return both_answers(examples, self.fill)

    def count(self, batch: Batch) -> int:
        """Pairs."""
        return len(batch["input_ids"]) // 2

    def loss(self, model: Forward, batch: Batch) -> Tensor:
        """The sum of the pairs' losses."""
        logits = model(**batch).logits
        assert logits is not None, "its head has them"
        chosen, rejected = logits.float().squeeze(-1).chunk(2)
        return -F.logsigmoid(chosen - rejected).sum()
