"""AdaLoRA while it is trained: ranks are taken from where they matter least (Zhang et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tfcli.adapters.config import changes_of
from tfcli.errors import UsageError
from tfcli.models.adapters.adalora import AdaLora
from tfcli.models.adapters.attach import DEFAULT
from tfcli.models.adapters.settings import Allocation
from tfcli.train.batch import Batch, Example
from tfcli.train.objectives.objective import Examples, Forward, Frozen, Material, Objective

_IMPORTANCE, _SPREAD, _STEPS = "importance", "importance_spread", "allocated_steps"
"""What is kept of each factor beside the optimizer's own numbers, and so in checkpoints."""


class Orthogonal(Objective):
    """Another objective, with a share of how far factors are from being orthonormal.

    Args:
        inner: the objective.
        model: with AdaLoRA on it.
    """

    def __init__(self, inner: Objective, model: nn.Module) -> None:
        self.inner = inner
        self.changes = adaptive(model)
        self.task, self.unit = inner.task, inner.unit  # type: ignore[misc]

    def feed(self, material: Material) -> Examples:
        """Those of the objective."""
        return self.inner.feed(material)

    def begin(self, frozen: Frozen) -> None:
        """See `Objective.begin`."""
        self.inner.begin(frozen)

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A batch of the objective."""
        return self.inner.collate(examples)

    def lengths(self, examples: Sequence[Example]) -> np.ndarray:
        """See `Objective.lengths`."""
        return self.inner.lengths(examples)

    def count(self, batch: Batch) -> int:
        """Its targets."""
        return self.inner.count(batch)

    def loss(self, model: Forward, batch: Batch) -> Tensor:
        """The objective's sum; while training, with the share for each of its targets."""
        summed = self.inner.loss(model, batch)
        share = self.changes[0].allocation.orthogonality
        if not share or not torch.is_grad_enabled():
            return summed
        # PEFT's mean is one over matrices, of which each change has two.
        apart = torch.stack([each.unevenness() for each in self.changes]).mean() / 2
        return summed + share * apart * self.count(batch)


class RankAllocator:
    """Shares out ranks after each step of an optimizer, as PEFT's `update_and_allocate` does where
    steps are counted from 1.

    Args:
        changes: of the modules of a model.
        optimizer: moves them; keeps the importance of their weights.
        how: the steps.
    """

    def __init__(
        self, changes: Sequence[AdaLora], optimizer: torch.optim.Optimizer, how: Allocation
    ) -> None:
        assert how.total_steps is not None, "they are counted"
        self.changes, self.optimizer, self.how = changes, optimizer, how
        self.last_sharing = how.total_steps - how.last_steps

    def after_step(self, *_: Any) -> None:
        """Look at the gradients of a step that has moved the weights, and zero what is to be."""
        counter = self.optimizer.state[self.changes[0].lora_E]
        counter[_STEPS] = step = counter.get(_STEPS, 0) + 1
        with torch.no_grad():
            if step < self.last_sharing:
                self._learn()
            budget = self.budget(step)
            if budget is not None:
                self._share_out(budget)
            if step == self.last_sharing:
                self._forget()
            if step >= self.last_sharing:
                for change in self.changes:
                    change.lora_E.mul_(change.mask[:, None])

    def budget(self, step: int) -> int | None:
        """The sum of ranks after a step; None where it does not share out."""
        how = self.how
        if not how.first_steps < step <= self.last_sharing:
            return None
        if step % how.every and step < self.last_sharing:
            return None
        first = sum(each.rank for each in self.changes)
        last = how.target_rank * len(self.changes)
        left = 1 - (step - how.first_steps) / (self.last_sharing - how.first_steps)
        return int((first - last) * left**3 + last)

    def _learn(self) -> None:
        """Follow the sensitivity of each weight, and how far it varies."""
        beta1, beta2 = self.how.beta1, self.how.beta2
        for change in self.changes:
            for factor in (change.lora_A, change.lora_E, change.lora_B):
                state = self.optimizer.state[factor]
                mean = state.setdefault(_IMPORTANCE, torch.zeros_like(factor))
                spread = state.setdefault(_SPREAD, torch.zeros_like(factor))
                if factor.grad is None:
                    continue
                now = (factor * factor.grad).abs()
                mean.mul_(beta1).add_(now, alpha=1 - beta1)
                spread.mul_(beta2).add_((now - mean).abs(), alpha=1 - beta2)

    def _share_out(self, budget: int) -> None:
        """Zero the values of the least important triplets of all modules together."""
        scores = [self._scores(each) for each in self.changes]
        every = torch.cat(scores)
        fewer = len(every) - budget
        threshold = torch.kthvalue(every, fewer).values if fewer > 0 else every.new_tensor(-1.0)
        for change, score in zip(self.changes, scores, strict=True):
            change.mask.copy_(score > threshold)
            change.lora_E.mul_(change.mask[:, None])

    def _scores(self, change: AdaLora) -> Tensor:
        """The importance of each value with its two vectors, [rank]."""
        by_factor = []
        for factor in (change.lora_A, change.lora_E, change.lora_B):
            state = self.optimizer.state[factor]
            by_factor.append(state[_IMPORTANCE] * state[_SPREAD])
        a, e, b = by_factor
        return e.flatten() + a.mean(1) + b.mean(0)

    def _forget(self) -> None:
        for change in self.changes:
            for factor in (change.lora_A, change.lora_E, change.lora_B):
                for key in (_IMPORTANCE, _SPREAD):
                    self.optimizer.state[factor].pop(key, None)


def adaptive(model: nn.Module) -> list[AdaLora]:
    """The changes of a model whose ranks are shared out."""
    return [each for each in changes_of(model, DEFAULT).values() if isinstance(each, AdaLora)]


def allocate_ranks(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int | None) -> None:
    """Share out ranks after each step of an optimizer; of a model without AdaLoRA, nothing.

    Args:
        model: after its checkpoint was read.
        optimizer: of its weights.
        steps: of the whole training; None where time alone ends it.

    Raises:
        UsageError: there is no step left in which ranks could be shared out, or nobody knows.
    """
    changes = adaptive(model)
    if not changes:
        return
    if steps is None:
        raise UsageError(
            "ranks are shared out over a number of steps, and max_minutes gives none",
            where="max_minutes",
            fix="give max_steps or epochs beside it",
        )
    how = replace(changes[0].allocation, total_steps=steps)
    if max(how.first_steps, 1) + how.last_steps >= steps:  # one, to learn what matters
        raise UsageError(
            f"{how.first_steps} first and {how.last_steps} last steps leave none of {steps} in "
            "which ranks are shared out",
            where="adapter.first_steps",
            fix="make the two smaller, or max_steps larger",
        )
    for change in changes:
        change.allocation = how
    optimizer.register_step_post_hook(RankAllocator(changes, optimizer, how).after_step)
