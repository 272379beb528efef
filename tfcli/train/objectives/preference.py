"""Prefer one answer to another: DPO, IPO, ORPO and SimPO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from tfcli.models.losses import IGNORED
from tfcli.models.output import ModelOutput
from tfcli.train.batch import Batch, Example
from tfcli.train.feeds.pairs import ANSWERS, answer_targets, shown_answer
from tfcli.train.measures.choose import chosen
from tfcli.train.measures.measure import Measure
from tfcli.train.measures.rewards import RewardMeasure
from tfcli.train.objectives.objective import (
    Forward,
    Frozen,
    Material,
    Shown,
    with_backbones_part,
)
from tfcli.train.objectives.rows import PairObjective
from tfcli.train.preferences import NEEDS_START, USUAL_BETA, Beliefs, beliefs, pair_losses


class Preference(PairObjective):
    """A batch also has `targets` [2b, s], the token that follows each, -100 but in answers.

    DPO and IPO compare with the model that training began with: a second one beside the trained
    one, or the same one without its adapter.

    Args:
        name: of the loss, see `preferences`.
        beta: its scale; None for the usual one.
        margin: of SimPO.

    Attributes:
        before: what the start thinks of the pairs of the last loss; None where there is no start.
    """

    task: ClassVar[str] = "causal-lm"

    def __init__(self, name: str, beta: float | None = None, margin: float = 0.0) -> None:
        self.name, self.margin = name, margin
        self.beta = USUAL_BETA[name] if beta is None else beta
        self.start: Forward | None = None
        self.before: Beliefs | None = None

    def begin(self, frozen: Frozen) -> None:
        """Get the model that training begins with."""
        if self.name in NEEDS_START:
            self.start = frozen(None)

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Both answers of each pair, filled up at their ends: [2b, s]."""
        prompts = torch.stack([each["prompt"] for each in examples]).repeat(2)
        return answer_targets(super().collate(examples), prompts)

    def measure(self, asked: Sequence[str] | None, material: Material) -> Measure | None:
        """Of the rewards that the loss means, those of both answers."""
        names = chosen(asked, "pairs", ("pair_accuracy",), material.console)
        return RewardMeasure(names, self.rewards) if names else None

    def rewards(self, batch: Batch, output: ModelOutput) -> tuple[Tensor, Tensor]:
        """What both answers of each pair of the batch whose loss was taken last are worth by it,
        [b] each: how much likelier they became since the start (DPO, IPO), or the mean log
        probability of a token."""
        policy, before = self._beliefs(output.logits, batch), self.before
        if before is None:
            return policy.means
        return policy.chosen - before.chosen, policy.rejected - before.rejected

    def shown(self, example: Example) -> Sequence[Shown]:
        """The prompt with either answer."""
        return [shown_answer(example[name], example["prompt"]) for name in ANSWERS]

    def loss(self, model: Forward, batch: Batch) -> Tensor:
        """The sum of the pairs' losses."""
        inputs = {name: tensor for name, tensor in batch.items() if name != "targets"}
        if self.start is not None:
            with torch.no_grad():
                self.before = self._beliefs(self.start(**inputs).logits, batch)
        output = model(**inputs)
        policy = self._beliefs(output.logits, batch)
        losses = pair_losses(self.name, policy, self.before, self.beta, self.margin)
        return with_backbones_part(losses.sum(), output, self.count(batch))

    @staticmethod
    def _beliefs(logits: Tensor | None, batch: Batch) -> Beliefs:
        assert logits is not None, "its head has them"
        return beliefs(logits, batch["targets"], IGNORED)
