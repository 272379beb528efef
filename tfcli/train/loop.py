"""The training loop. What differs between runs are objects that are handed to it."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from tfcli.console import Bar
from tfcli.devices import Precision, autocast
from tfcli.errors import WorkError
from tfcli.models.model import Model
from tfcli.train.batch import Batch, on_device
from tfcli.train.checkpoint import Checkpoints, Progress
from tfcli.train.feeds.feed import Feed, derive_seed
from tfcli.train.interrupts import Interrupts
from tfcli.train.log import MetricsLog
from tfcli.train.objectives.objective import Objective
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
        schedule: step -> factor on the peak rates.
        precision: of the forward pass.
        steps: how many.
        seed: of dropout.
        log: takes a line a step.
        checkpoints: where checkpoints and the best weights go.
        clip_norm: gradients are scaled down to this norm; None leaves them.
        validation: measured every `validate_every` steps and at the end.
        validate_every: 0 for at the end only.
        checkpoint_every: 0 for never.
        keep_best: store the weights of the lowest validation loss.
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
    steps: int
    seed: int
    log: MetricsLog
    checkpoints: Checkpoints
    clip_norm: float | None = None
    validation: Validation | None = None
    validate_every: int = 0
    checkpoint_every: int = 0
    keep_best: bool = False
    answer: Callable[[], None] = lambda: None

    def run(self, progress: Progress, bar: Bar) -> None:
        """Train from where `progress` is to the last step.

        Raises:
            WorkError: a loss or a gradient is not finite; the weights are those before the step.
            KeyboardInterrupt: asked for by a signal, after a checkpoint.
        """
        self.wrapped.train()
        with Interrupts(self.answer) as interrupts:
            while _more(progress, self.steps):
                started = time.perf_counter()
                if progress.unfinished is None:
                    self._step(progress)
                stop = self._finish(progress, bar, interrupts)
                progress.seconds += time.perf_counter() - started
                self._checkpoint(progress, stop)
                if stop and _more(progress, self.steps):
                    raise KeyboardInterrupt

    def _step(self, progress: Progress) -> None:
        """Move the weights once; the step's figures wait for those of a validation."""
        started = time.perf_counter()
        batches = self.feed.step(progress.step)
        loss, norm, targets = self.train_step(progress.step, batches)
        rate = targets / (time.perf_counter() - started)
        progress.step, progress.tokens = progress.step + 1, progress.tokens + targets
        progress.unfinished = {
            "step": progress.step,
            "loss": loss,
            "lr": self.optimizer.param_groups[0]["lr"],
            "grad_norm": norm,
            "tokens_per_second": round(rate, 1),
        }

    def _finish(self, progress: Progress, bar: Bar, interrupts: Interrupts) -> bool:
        """Validate where it is time to, and write the step's line.

        Returns:
            whether any process was asked to stop. Where that cut a validation short, the step is
            still unfinished.
        """
        figures = progress.unfinished
        assert figures is not None, "a step was made"
        if self._validates_after(progress.step):
            valued = self._validate(progress, lambda: interrupts.asked)
            if valued is None:
                return True
            figures = {**figures, "val_loss": valued}
        self.log.write(figures)
        progress.unfinished = None
        shown = {
            "loss": f"{figures['loss']:.3f}",
            "tokens/s": f"{figures['tokens_per_second']:,.0f}",
        }
        bar.show(**shown, **_best(progress))
        bar.advance()
        return self.strategy.processes.any(interrupts.asked)

    def train_step(self, step: int, batches: list[Batch]) -> tuple[float, float, int]:
        """One optimizer step.

        Args:
            step: counted from 0.
            batches: this process's, one a forward pass.

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
        _require_finite(step + 1, "loss", loss)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * self.schedule(step)
        check = partial(_require_finite, step + 1, "gradient norm")
        norm = self.strategy.update(self.model, self.optimizer, self.clip_norm, check)
        return loss, norm, int(count)

    def _validates_after(self, step: int) -> bool:
        due = self.validate_every and step % self.validate_every == 0
        return self.validation is not None and bool(due or step == self.steps)

    def _validate(self, progress: Progress, asked: Callable[[], bool]) -> float | None:
        """The validation loss; None when a process was asked to stop before it was measured."""
        assert self.validation is not None
        loss = self.validation.loss(self.model, self.strategy, asked)
        if loss is None:
            return None
        _require_finite(progress.step, "validation loss", loss)
        if progress.best_loss is None or loss < progress.best_loss:
            progress.best_loss, progress.best_step = loss, progress.step
            if self.keep_best:
                self.checkpoints.save_best(self.model)
        return loss

    def _checkpoint(self, progress: Progress, stop: bool) -> None:
        if not self.checkpoint_every or not _more(progress, self.steps):
            return
        if stop or progress.step % self.checkpoint_every == 0:
            self.log.sync()
            progress.epoch_starts = list(self.feed.epoch_starts)
            self.checkpoints.save(progress, self.model, self.optimizer)


def _more(progress: Progress, steps: int) -> bool:
    """Whether anything is left to do."""
    return progress.unfinished is not None or progress.step < steps


def _best(progress: Progress) -> dict[str, str]:
    return {} if progress.best_loss is None else {"best validation": f"{progress.best_loss:.3f}"}


def _require_finite(step: int, name: str, value: float) -> None:
    if not math.isfinite(value):
        raise WorkError(
            f"the {name} is {value} at step {step}",
            fix="lower optimizer.lr, lengthen schedule.warmup_steps, or set precision: float32",
        )
