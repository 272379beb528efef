"""Answers that were judged one by one, by the rewards that a loss means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from tfcli.models.model import Model
from tfcli.models.output import ModelOutput
from tfcli.train.batch import Batch
from tfcli.train.measures.measure import Compared

Rewards = Callable[[Batch, ModelOutput], Tensor]
"""What each answer of a batch is worth, [b]."""


class JudgedMeasure(Compared):
    """The reward of each answer, and whether it is desirable.

    Args:
        names: of the metrics.
        rewards: says them.
    """

    def __init__(self, names: Sequence[str], rewards: Rewards) -> None:
        super().__init__(names)
        self.rewards = rewards

    def answers(
        self, model: Model, batch: Batch, output: ModelOutput, numbers: Sequence[int]
    ) -> Sequence[Any]:
        rewards, good = self.rewards(batch, output), batch["labels"]
        return list(zip(rewards.tolist(), good.tolist(), strict=True))
