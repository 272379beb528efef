"""The loss on data that is not trained on, and what else is measured there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from tfcli.devices import Precision, autocast
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput
from tfcli.train.batch import Example, on_device
from tfcli.train.evaluating import evaluating
from tfcli.train.measures.measure import LOWEST_LOSS, Better, Measure
from tfcli.train.objectives.objective import Forward, Objective
from tfcli.train.strategies.strategy import Strategy


class Validation:
    """Always the same examples, shared out among the processes.

    Args:
        examples: all of them.
        batches: the places of those of each forward pass.
        objective: as in training.
        precision: as in training.
        measure: what is measured beside the loss; None: nothing.
        better: which of two validations is the better one.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        batches: Sequence[Sequence[int]],
        objective: Objective,
        precision: Precision,
        measure: Measure | None = None,
        better: Better = LOWEST_LOSS,
    ) -> None:
        self.examples, self.batches = examples, batches
        self.objective, self.precision = objective, precision
        self.measure, self.better = measure, better

    @torch.no_grad()
    def figures(
        self, model: Model, strategy: Strategy, asked: Callable[[], bool]
    ) -> dict[str, float] | None:
        """`val_loss`, the mean loss over all targets, and the measure's figures, each as `val_` and
        its name, the same in all processes; None where one was asked to stop.

        Args:
            model: without a wrapper. It runs uncompiled: its batches have other shapes than those
                of training, and compiling for them takes longer than they do.
            strategy: says which share is this process's.
            asked: whether this process was asked to stop; looked at before each batch.
        """
        device, processes = strategy.device, strategy.processes
        sums = torch.zeros(2, dtype=torch.float64, device=device)
        answers: list[tuple[int, Any]] = []
        stop = False
        with evaluating(model):
            for start in range(0, len(self.batches), strategy.shares):
                stop = asked()
                if processes.any(stop) if strategy.lockstep else stop:
                    break
                place = start + strategy.share
                mine = self.batches[place] if place < len(self.batches) else ()
                if not mine and not strategy.lockstep:
                    continue  # the last round has fewer batches than processes
                collated = self.objective.collate(
                    [self.examples[number] for number in mine or (0,)]
                )
                batch, forward = on_device(collated, device), _Heard(strategy.uncompiled(model))
                with autocast(self.precision, device.type):
                    loss = self.objective.loss(forward, batch)
                    if mine and self.measure is not None:
                        found = self.measure.answers(model, batch, forward.output, mine)
                        answers += zip(mine, found, strict=True)
                if mine:
                    sums += sums.new_tensor([float(loss), self.objective.count(batch)])
        if processes.any(stop):
            return None
        summed, count = strategy.total(sums).tolist()
        figures = {"val_loss": summed / count}
        if self.measure is not None:
            # Processes with the same share of the data have the same answers.
            every = dict(processes.gathered(answers))
            measured = self.measure.figures([every[number] for number in sorted(every)])
            # A correlation of equal numbers is none at all.
            figures |= {f"val_{name}": n for name, n in measured.items() if math.isfinite(n)}
        return figures


class _Heard:
    """A forward pass whose last output is remembered."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._output: ModelOutput | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> ModelOutput:
        self._output = self._forward(*args, **kwargs)
        return self._output

    @property
    def output(self) -> ModelOutput:
        """Of the last forward pass."""
        assert self._output is not None, "the loss needed one"
        return self._output
