"""The training loop. What differs between runs are objects that are handed to it."""

from __future__ import annotations

import dataclasses
import math
import time
from contextlib import nullcontext

import torch
from accelerate import Accelerator
from torch import nn

from tfcli.console import Bar
from tfcli.errors import WorkError
from tfcli.train.batches import Feed, StepData, derive_seed
from tfcli.train.checkpoint import Checkpoints, Progress
from tfcli.train.interrupts import Interrupts
from tfcli.train.log import MetricsLog
from tfcli.train.objective import Objective
from tfcli.train.precision import Precision, autocast
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

    def run(self, progress: Progress, bar: Bar) -> None:
        """Train from where `progress` is to the last step.

        Raises:
            WorkError: a loss or a gradient is not finite; the weights are those before the step.
            KeyboardInterrupt: asked for by a signal, after a checkpoint.
        """
        self.model.train()
        with Interrupts() as interrupts:
            for step in range(progress.step, self.steps):
                started = time.perf_counter()
                data = self.feed.step(step)
                lr = self.lr * self.schedule(step)
                loss, norm, stop = self.train_step(step, data, lr, interrupts.asked)
                seconds = time.perf_counter() - started
                progress.step, progress.tokens = step + 1, progress.tokens + data.targets
                rate = data.targets / seconds
                valued = self._validate(progress)
                self.log.write(
                    {
                        "step": progress.step,
                        "loss": loss,
                        "lr": lr,
                        "grad_norm": norm,
                        "tokens_per_second": round(rate, 1),
                        "val_loss": valued,
                    }
                )
                figures = {"loss": f"{loss:.3f}", "tokens/s": f"{rate:,.0f}"}
                bar.show(**figures, **_best(progress))
                bar.advance()
                progress.seconds += time.perf_counter() - started
                self._checkpoint(progress, stop)
                if stop:
                    raise KeyboardInterrupt

    def train_step(
        self, step: int, data: StepData, lr: float, stop: bool = False
    ) -> tuple[float, float, bool]:
        """One optimizer step.

        Returns:
            the loss, a mean over the step's targets; the norm of the gradients before clipping;
            whether any process was asked to stop
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
                    loss = self.objective(self.model, batch, divisor)
                accelerator.backward(loss)
            total += loss.detach()
        total /= accelerator.num_processes
        norm = accelerator.clip_grad_norm_(self.model.parameters(), self.clip_norm or math.inf)
        asked = torch.tensor(float(stop), device=accelerator.device)
        shared = accelerator.reduce(torch.stack([total, asked]), "sum").tolist()
        _require_finite(step + 1, shared[0], float(norm))
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return shared[0], float(norm), shared[1] > 0

    def _validate(self, progress: Progress) -> float | None:
        due = self.validate_every and progress.step % self.validate_every == 0
        if self.validation is None or not (due or progress.step == self.steps):
            return None
        model = self.accelerator.unwrap_model(self.model)
        loss = self.validation.loss(model, self.accelerator)
        if progress.best_loss is None or loss < progress.best_loss:
            progress.best_loss, progress.best_step = loss, progress.step
            if self.keep_best and self.accelerator.is_main_process:
                self.checkpoints.save_best(model)
        return loss

    def _checkpoint(self, progress: Progress, stop: bool) -> None:
        if not self.checkpoint_every or progress.step == self.steps:
            return
        if stop or progress.step % self.checkpoint_every == 0:
            if self.accelerator.is_main_process:
                self.log.sync()
                progress.epoch_starts = list(self.feed.epoch_starts)
                model = self.accelerator.unwrap_model(self.model)
                self.checkpoints.save(progress, model, self.optimizer)
            self.accelerator.wait_for_everyone()


def _best(progress: Progress) -> dict[str, str]:
    return {} if progress.best_loss is None else {"best validation": f"{progress.best_loss:.3f}"}


def _require_finite(step: int, loss: float, norm: float) -> None:
    for name, value in (("loss", loss), ("gradient norm", norm)):
        if not math.isfinite(value):
            raise WorkError(
                f"the {name} is {value} at step {step}",
                fix="lower optimizer.lr, lengthen schedule.warmup_steps, or set precision: float32",
            )
