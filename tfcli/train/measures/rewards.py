"""Pairs of answers by the rewards that a loss of preferences means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from tfcli.models.model import Model
from tfcli.models.output import ModelOutput
from tfcli.train.batch import Batch
from tfcli.train.measures.measure import Compared

Rewards = Callable[[Batch, ModelOutput], tuple[Tensor, Tensor]]
"""What both answers of each pair of a batch are worth, [b] each."""


class RewardMeasure(Compared):
    """The rewards of both answers.

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
        better, other = self.rewards(batch, output)
        return list(zip(better.tolist(), other.tolist(), strict=True))
