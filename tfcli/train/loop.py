"""The training loop. What differs between runs are objects that are handed to it."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn

from tfcli.devices import Precision, autocast
from tfcli.errors import WorkError
from tfcli.models.model import Model
from tfcli.train.average import WeightAverage
from tfcli.train.batch import Batch, on_device
from tfcli.train.callbacks.callback import Callbacks
from tfcli.train.checkpoint import Checkpoints, Progress
from tfcli.train.feeds.feed import Feed, derive_seed
from tfcli.train.guard import Guard
from tfcli.train.interrupts import Interrupts
from tfcli.train.objectives.objective import Objective
from tfcli.train.pace import Every, Length, Moment
from tfcli.train.schedule import Schedule
from tfcli.train.strategies.strategy import Strategy
from tfcli.train.validate import Validation


@dataclasses.dataclass
class Loop:
    """One run's parts.

    Args:
        model: whose parameters are trained.
        wrapped: what a forward pass calls, as the strategy gave it.
        strategy: how the model is spread.
        feed: the data of each step.
        objective: what is made smaller.
        optimizer: moves the weights; each of its groups says its peak rate, `initial_lr`.
        schedule: factor on the peak rates.
        precision: of the forward pass.
        length: how long it is.
        seed: of dropout.
        checkpoints: where checkpoints and the best weights go.
        callbacks: what else is done at each step.
        guard: sees that numbers are sound.
        intervals: how often it is time for something, by name: `validate`, `checkpoint`, and those
            of callbacks.
        clip_norm: gradients are scaled down to this norm; None leaves them.
        validation: measured when it is time to, and at the end.
        average: the running mean of the weights, which is validated and kept in their place; None
            for the weights themselves.
        keep_best: store the weights of the best validation.
        answer: called at once, in another thread, when a signal asks to stop.
    """

    model: Model
    wrapped: nn.Module
    strategy: Strategy
    feed: Feed
    objective: Objective
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    precision: Precision
    length: Length
    seed: int
    checkpoints: Checkpoints
    callbacks: Callbacks = dataclasses.field(default_factory=Callbacks)
    guard: Guard = dataclasses.field(default_factory=Guard)
    intervals: Mapping[str, Every] = dataclasses.field(default_factory=dict)
    clip_norm: float | None = None
    validation: Validation | None = None
    average: WeightAverage | None = None
    keep_best: bool = False
    answer: Callable[[], None] = lambda: None

    def run(self, progress: Progress) -> None:
        """Train from where `progress` is to the last step.

        Raises:
            WorkError: a loss or a gradient is not finite, or far larger than before; the weights
                are those before the step.
            KeyboardInterrupt: asked for by a signal, after a checkpoint.
        """
        self.wrapped.train()
        began = time.perf_counter() - progress.seconds
        try:
            self.callbacks.begin(progress)
            with Interrupts(self.answer) as interrupts:
                while self._more(progress):
                    if progress.unfinished is None:
                        self._step(progress, began)
                    stop = self._finish(progress, interrupts)
                    self._checkpoint(progress, stop)
                    if stop and self._more(progress):
                        raise KeyboardInterrupt
            progress.seconds = time.perf_counter() - began
        finally:
            self.callbacks.end()

    def _step(self, progress: Progress, began: float) -> None:
        """Move the weights once; the step's figures wait for those of a validation."""
        before, started = self._moment(progress), time.perf_counter()
        batches = self.feed.step(progress.step)
        loss, norm, targets = self.train_step(progress.step, batches, progress.seconds)
        rate = targets / (time.perf_counter() - started)
        progress.step, progress.tokens = progress.step + 1, progress.tokens + targets
        progress.seconds = self._agreed(time.perf_counter() - began)
        if self.average is not None:
            self.average.update()
        after = self._moment(progress)
        progress.due = [name for name, each in self.intervals.items() if each.due(before, after)]
        progress.unfinished = {
            "step": progress.step,
            "loss": loss,
            "lr": self.optimizer.param_groups[0]["lr"],
            "grad_norm": norm,
            "tokens_per_second": round(rate, 1),
        }

    def _moment(self, progress: Progress) -> Moment:
        step, seconds = progress.step, progress.seconds
        epochs = self.feed.epochs_after(step)
        return Moment(step, epochs, seconds, self.length.share(step, seconds))

    def _agreed(self, seconds: float) -> float:
        """The time of the first process, so that all do the same things at the same steps."""
        processes = self.strategy.processes
        mine = seconds if processes.first else 0.0
        place = torch.tensor(mine, dtype=torch.float64, device=self.strategy.device)
        processes.add(place)
        return float(place)

    def _more(self, progress: Progress) -> bool:
        """Whether anything is left to do."""
        if progress.unfinished is not None:
            return True
        return not (progress.ended or self.length.over(progress.step, progress.seconds))

    def _finish(self, progress: Progress, interrupts: Interrupts) -> bool:
        """Validate where it is time to, and tell the callbacks.

        Returns:
            whether any process was asked to stop. Where that cut a validation short, the step is
            still unfinished.
        """
        figures = progress.unfinished
        assert figures is not None, "a step was made"
        over = self.length.over(progress.step, progress.seconds)
        if self.validation is not None and ("validate" in progress.due or over):
            with self._averaged():
                valued = self._validate(progress, lambda: interrupts.asked)
            if valued is None:
                return True
            figures = {**figures, **valued}
        progress.unfinished = None
        self.callbacks.finished(figures, progress.due)
        progress.ended = self.callbacks.stops()
        return self.strategy.processes.any(interrupts.asked)

    def _averaged(self) -> contextlib.AbstractContextManager[object]:
        """Within it the model has the weights that count."""
        return contextlib.nullcontext() if self.average is None else self.average.applied()

    def train_step(
        self, step: int, batches: list[Batch], seconds: float = 0.0
    ) -> tuple[float, float, int]:
        """One optimizer step.

        Args:
            step: counted from 0.
            batches: this process's, one a forward pass.
            seconds: that the run has taken before.

        Returns:
            the loss, a mean over the step's targets in all processes; the norm of the gradients
            before clipping; and how many targets these were
        """
        device = self.strategy.device
        # Dropout follows from the seed and the step, so a resumed run draws what a straight one
        # draws, and no generator's state need be stored.
        torch.manual_seed(derive_seed(self.seed, "dropout", step, self.strategy.share))
        mine = sum(map(self.objective.count, batches))
        count = self.strategy.total(torch.tensor(float(mine), dtype=torch.float64, device=device))
        if not count:
            raise WorkError(f"step {step + 1} has nothing to learn from", where="data")
        summed = torch.zeros((), device=device)
        for number, batch in enumerate(batches, start=1):
            with self.strategy.accumulate(self.wrapped, last=number == len(batches)):
                with autocast(self.precision, device.type):
                    part = self.objective.loss(self.wrapped, on_device(batch, device))
                self.strategy.backward(part, count)
            summed += part.detach()
        loss = float(self.strategy.total(summed) / count)
        check = partial(self.guard.check, step + 1, batches)
        check("loss", loss)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * self.schedule(step, seconds)
        norm = self.strategy.update(
            self.model, self.optimizer, self.clip_norm, partial(check, "gradient norm")
        )
        return loss, norm, int(count)

    def _validate(self, progress: Progress, asked: Callable[[], bool]) -> dict[str, float] | None:
        """The figures of a validation; None when a process was asked to stop before the end."""
        assert self.validation is not None
        figures = self.validation.figures(self.model, self.strategy, asked)
        if figures is None:
            return None
        self.guard.check(progress.step, [], "validation loss", figures["val_loss"])
        if self.validation.better(figures, progress.best):
            progress.best, progress.best_step = figures, progress.step
            if self.keep_best:
                self.checkpoints.save_best(self.model)
        return figures

    def _checkpoint(self, progress: Progress, stop: bool) -> None:
        if not self._keeps_checkpoints or not self._more(progress):
            return
        if stop or "checkpoint" in progress.due:
            self.callbacks.checkpoint()
            progress.feed = self.feed.state(progress.step)
            progress.callbacks = self.callbacks.states()
            self.checkpoints.save(progress, self.model, self.optimizer, self.average)

    @property
    def _keeps_checkpoints(self) -> bool:
        return "checkpoint" in self.intervals and bool(self.intervals["checkpoint"].number)
