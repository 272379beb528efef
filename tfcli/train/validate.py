"""The loss on data that is not trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from tfcli.devices import Precision, autocast
from tfcli.models.model import Model
from tfcli.train.batch import Example, on_device
from tfcli.train.objectives.objective import Objective
from tfcli.train.strategies.strategy import Strategy


class Validation:
    """Always the same examples, shared out among the processes.

    Args:
        examples: all of them.
        batch_size: examples of a forward pass.
        objective: as in training.
        precision: as in training.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        batch_size: int,
        objective: Objective,
        precision: Precision,
    ) -> None:
        self.examples, self.batch_size = examples, batch_size
        self.objective, self.precision = objective, precision

    @torch.no_grad()
    def loss(self, model: Model, strategy: Strategy, asked: Callable[[], bool]) -> float | None:
        """The mean loss over all targets; None where a process was asked to stop.

        Args:
            model: without a wrapper. It runs uncompiled: its batches have other shapes than those
                of training, and compiling for them takes longer than they do.
            strategy: says which share is this process's.
            asked: whether this process was asked to stop; looked at before each batch.
        """
        device, processes = strategy.device, strategy.processes
        figures = torch.zeros(2, dtype=torch.float64, device=device)
        numbers = range(len(self.examples))
        stop = False
        model.eval()
        for start in range(0, len(numbers), self.batch_size * strategy.shares):
            stop = asked()
            if processes.any(stop) if strategy.lockstep else stop:
                break
            begin = start + self.batch_size * strategy.share
            mine = numbers[begin : begin + self.batch_size]
            if not mine and not strategy.lockstep:
                continue  # the last round has fewer examples than processes
            batch = self.objective.collate([self.examples[number] for number in mine or (0,)])
            with autocast(self.precision, device.type):
                loss = self.objective.loss(strategy.uncompiled(model), on_device(batch, device))
            if mine:
                figures += figures.new_tensor([float(loss), self.objective.count(batch)])
        model.train()
        if processes.any(stop):
            return None
        summed, count = strategy.total(figures).tolist()
        return summed / count
