"""The training loop. What differs between runs are objects that are handed to it."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from accelerate import Accelerator
from torch import nn

from tfcli.console import Bar
from tfcli.devices import Precision, autocast
from tfcli.errors import WorkError
from tfcli.train.batches import Feed, StepData, derive_seed
from tfcli.train.checkpoint import Checkpoints, Progress
from tfcli.train.interrupts import Interrupts
from tfcli.train.log import MetricsLog
from tfcli.train.objective import Objective
from tfcli.train.schedule import Schedule
from tfcli.train.validate import Validation


@dataclasses.dataclass
class Loop:
    """One run's parts.

    Args:
        model: on its device, as accelerate prepared it.
        accelerator: device and processes.
        feed: the data of each step.
        objective: what is made smaller.
        optimizer: moves the weights.
        lr: peak rate.
        schedule: step -> factor on `lr`.
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

    model: nn.Module
    accelerator: Accelerator
    feed: Feed
    objective: Objective
    optimizer: torch.optim.Optimizer
    lr: float
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
        self.model.train()
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
        data = self.feed.step(progress.step)
        lr = self.lr * self.schedule(progress.step)
        loss, norm = self.train_step(progress.step, data, lr)
        rate = data.targets / (time.perf_counter() - started)
        progress.step, progress.tokens = progress.step + 1, progress.tokens + data.targets
        progress.unfinished = {
            "step": progress.step,
            "loss": loss,
            "lr": lr,
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
        asked = torch.tensor(float(interrupts.asked), device=self.accelerator.device)
        return bool(self.accelerator.reduce(asked, "sum") > 0)

    def train_step(self, step: int, data: StepData, lr: float) -> tuple[float, float]:
        """One optimizer step.

        Returns:
            the loss, a mean over the step's targets, and the norm of the gradients before clipping
        """
        accelerator = self.accelerator
        # Dropout follows from the seed and the step, so a resumed run draws what a straight one
        # draws, and no generator's state need be stored.
        torch.manual_seed(derive_seed(self.seed, "dropout", step, accelerator.process_index))
        # DDP averages gradients over processes; the loss is a sum over them.
        divisor = torch.tensor(data.targets / accelerator.num_processes, device=accelerator.device)
        total = torch.zeros((), device=accelerator.device)
        for number, micro in enumerate(data.micro, start=1):
            batch = micro.to(accelerator.device)
            last = number == len(data.micro)
            with nullcontext() if last else accelerator.no_sync(self.model):
                with autocast(self.precision, accelerator.device.type):
                    part = self.objective(self.model, batch, divisor)
                accelerator.backward(part)
            total += part.detach()
        total /= accelerator.num_processes
        norm = accelerator.clip_grad_norm_(self.model.parameters(), self.clip_norm or math.inf)
        loss, norm = float(accelerator.reduce(total, "sum")), float(norm)
        _require_finite(step + 1, "loss", loss)
        _require_finite(step + 1, "gradient norm", norm)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss, norm

    def _validates_after(self, step: int) -> bool:
        due = self.validate_every and step % self.validate_every == 0
        return self.validation is not None and bool(due or step == self.steps)

    def _validate(self, progress: Progress, asked: Callable[[], bool]) -> float | None:
        """The validation loss; None when a process was asked to stop before it was measured."""
        assert self.validation is not None
        model = self.accelerator.unwrap_model(self.model)
        loss = self.validation.loss(model, self.accelerator, asked)
        if loss is None:
            return None
        _require_finite(progress.step, "validation loss", loss)
        if progress.best_loss is None or loss < progress.best_loss:
            progress.best_loss, progress.best_step = loss, progress.step
            if self.keep_best and self.accelerator.is_main_process:
                self.checkpoints.save_best(model)
        return loss

    def _checkpoint(self, progress: Progress, stop: bool) -> None:
        if not self.checkpoint_every or not _more(progress, self.steps):
            return
        if stop or progress.step % self.checkpoint_every == 0:
            if self.accelerator.is_main_process:
                self.log.sync()
                progress.epoch_starts = list(self.feed.epoch_starts)
                model = self.accelerator.unwrap_model(self.model)
                self.checkpoints.save(progress, model, self.optimizer)
            self.accelerator.wait_for_everyone()


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
