"""The callbacks that a spec asks for."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace

import torch

from tfcli.console import Bar, Console
from tfcli.recipe.job import Job
from tfcli.train.callbacks.callback import Callback, Callbacks
from tfcli.train.callbacks.dashboard import Dashboard
from tfcli.train.callbacks.early_stopping import EarlyStopping
from tfcli.train.callbacks.metrics import MetricsFile, MetricsTable
from tfcli.train.callbacks.samples import Samples
from tfcli.train.callbacks.shown import Shown
from tfcli.train.callbacks.trackers import Trackers
from tfcli.train.checkpoint import Progress
from tfcli.train.guard import Guard
from tfcli.train.log import METRICS
from tfcli.train.measures.choose import better_of
from tfcli.train.pace import Length
from tfcli.train.spec import TrainSpec

TABLE = "metrics.csv"


def make_callbacks(
    spec: TrainSpec,
    job: Job,
    guard: Guard,
    samples: Samples | None,
    length: Length,
    device: torch.device,
    unit: str,
    *,
    first: bool,
    written: int,
) -> Callbacks:
    """What is done at each step, in this order.

    Args:
        spec: with its epochs counted in steps.
        job: has the folder and the console.
        guard: of the loop.
        samples: makes texts; None where none are asked for.
        length: of the run.
        device: where it runs.
        unit: what a target is.
        first: whether this process is the one that writes.
        written: steps of an interrupted run whose lines stay.
    """
    made: list[Callback] = [guard, MetricsFile(job.output / METRICS if first else None, written)]
    if spec.early_stopping.patience is not None:
        better = replace(better_of(spec), least=spec.early_stopping.min_delta)
        made.append(EarlyStopping(spec.early_stopping.patience, better))
    if samples is not None:
        made.append(samples)
    if first and "csv" in (spec.tracking.trackers or ()):
        made.append(MetricsTable(job.output / METRICS, job.output / TABLE))
    if first and spec.tracking.elsewhere:
        made.append(Trackers(spec.tracking, job.output, _facts(spec)))
    if first:
        drawn = job.console.redraws
        view = Dashboard(job.console, length, device, unit) if drawn else None
        made.append(view or _bar(spec, job.console, unit))
    return Callbacks(made)


def _bar(spec: TrainSpec, console: Console, unit: str) -> Shown:
    """A bar as long as the run: in steps, or in seconds where time alone ends it."""
    steps = spec.max_steps
    length, of = (float(steps), "step") if steps else ((spec.max_minutes or 0) * 60, "s")

    def opened() -> AbstractContextManager[Bar]:
        return console.progress("train", length, of)

    def measure(progress: Progress) -> float:
        return progress.finished if steps else min(length, progress.seconds)

    return Shown(opened, measure, unit)


def _facts(spec: TrainSpec) -> dict[str, str | float | bool]:
    """The keys of a spec and their values, as trackers take them: flat, and no lists."""
    flat: dict[str, str | float | bool] = {}

    def take(prefix: str, values: dict[str, object]) -> None:
        for key, value in values.items():
            if isinstance(value, dict):
                take(f"{prefix}{key}.", value)
            elif value is not None:
                flat[prefix + key] = value if isinstance(value, str | int | float) else str(value)

    take("", spec.model_dump(mode="json", exclude_defaults=True))
    return flat
