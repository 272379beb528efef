"""From a spec to the parts of a run, those of an interrupted one as they were."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from tfcli.errors import UsageError
from tfcli.models.model import Model
from tfcli.recipe.job import Job
from tfcli.train.adalora import Orthogonal, allocate_ranks
from tfcli.train.adapter import all_weights, raise_rates, trained_weights
from tfcli.train.average import WeightAverage
from tfcli.train.batch import on_device
from tfcli.train.callbacks.callback import Callbacks
from tfcli.train.callbacks.make import make_callbacks
from tfcli.train.callbacks.samples import DUE, FILE, Samples
from tfcli.train.checkpoint import Checkpoints, Progress
from tfcli.train.feeds.batches import make_feed, validation_batches
from tfcli.train.guard import Guard
from tfcli.train.inputs import Inputs, read_inputs
from tfcli.train.loop import Loop
from tfcli.train.measures.choose import better_of
from tfcli.train.noise import add_noise
from tfcli.train.objectives.objective import Objective
from tfcli.train.optimizer import build_optimizer
from tfcli.train.pace import Length, every
from tfcli.train.prepare import build_model, compile_model, frozen_model, in_steps
from tfcli.train.schedule import make_schedule
from tfcli.train.spec import TrainSpec
from tfcli.train.strategies.strategy import Strategy
from tfcli.train.validate import Validation


@dataclass(frozen=True)
class Moved:
    """A model and what moves it.

    Args:
        model: whose parameters are trained.
        objective: what is made smaller.
        wrapped: what a forward pass calls.
        optimizer: moves the parameters.
        weights: how many the model has.
        trained: how many of them are trained.
    """

    model: Model
    objective: Objective
    wrapped: nn.Module
    optimizer: torch.optim.Optimizer
    weights: int
    trained: int


@dataclass(frozen=True)
class Run:
    """What a run is made of.

    Args:
        spec: with its epochs counted in steps.
        inputs: what it started from.
        moved: the model.
        loop: the parts, as the loop takes them.
        progress: how far it is.
        resumed_from: the step that an interrupted run goes on from.
    """

    spec: TrainSpec
    inputs: Inputs
    moved: Moved
    loop: Loop
    progress: Progress
    resumed_from: int | None

    @property
    def model(self) -> Model:
        """The model that is trained."""
        return self.moved.model

    @property
    def strategy(self) -> Strategy:
        """How it is spread."""
        return self.inputs.strategy


def assemble(spec: TrainSpec, job: Job) -> Run:
    """Make the parts of a run.

    Raises:
        UsageError: options that do not fit the data, the model, the machine or the launcher.
        WorkError: files that cannot be read, or all checkpoints of an interrupted run damaged.
    """
    inputs = read_inputs(spec, job)
    spec, strategy = inputs.spec, inputs.strategy
    moved = _moved(inputs, job)
    average = None if spec.ema_decay is None else WeightAverage(moved.model, spec.ema_decay)
    checkpoints = Checkpoints(job.output, job.console, strategy, spec.keep_checkpoints)
    progress = checkpoints.load(moved.model, moved.optimizer, average)
    if progress is None:
        progress = Progress(processes=strategy.shares)
    feed = make_feed(
        spec,
        moved.objective,
        inputs.examples.train,
        _passes(spec, progress, strategy.shares),
        strategy.share,
        strategy.shares,
        progress.feed,
    )
    spec = in_steps(spec, feed)
    allocate_ranks(moved.model, moved.optimizer, spec.max_steps)
    length = Length(spec.max_steps, spec.max_minutes and spec.max_minutes * 60)
    guard = Guard(job.output, strategy.processes.rank, spec.spike_factor)
    loop = Loop(
        model=moved.model,
        wrapped=moved.wrapped,
        strategy=strategy,
        feed=feed,
        objective=moved.objective,
        optimizer=moved.optimizer,
        schedule=make_schedule(spec.schedule, length, spec.warmup_steps),
        precision=inputs.precision,
        length=length,
        seed=spec.seed,
        checkpoints=checkpoints,
        callbacks=_callbacks(spec, job, inputs, moved, guard, length, progress),
        guard=guard,
        intervals={
            "validate": every(spec.validate_every),
            "checkpoint": every(spec.checkpoint_every),
            DUE: every(spec.samples.every),
        },
        clip_norm=spec.clip_norm,
        validation=_validation(spec, inputs, moved.objective),
        average=average,
        keep_best=spec.keep == "best",
        answer=lambda: job.console.note(_parting(spec)),
    )
    return Run(spec, inputs, moved, loop, progress, progress.step or None)


def _moved(inputs: Inputs, job: Job) -> Moved:
    """The model with its adapter, spread, and its optimizer."""
    spec, strategy, objective = inputs.spec, inputs.strategy, inputs.objective
    build = partial(
        build_model,
        spec,
        inputs.config,
        inputs.start,
        strategy=strategy,
        console=job.console,
        keys=objective.config_keys,
        new_head=objective.new_head,
    )
    model = build(inputs.task)
    if spec.neftune_alpha is not None:
        add_noise(model, spec.neftune_alpha)
    if spec.adapter.type == "adalora":
        objective = Orthogonal(objective, model)
    weights, trained = all_weights(model), trained_weights(model)
    start_again = partial(build, inputs.task, trained=False)
    objective.begin(partial(frozen_model, spec, strategy, model, start_again))

    def make_optimizer(model: Model) -> torch.optim.Optimizer:
        made = build_optimizer(model, spec.optimizer, spec.peak_rate)
        if spec.adapter.lr_ratio is not None:
            raise_rates(model, made, spec.adapter.lr_ratio)
        return made

    wrapped, optimizer = strategy.wrap(model, make_optimizer, spec.clip_norm)
    if spec.compile:
        batch = on_device(objective.collate([inputs.first]), strategy.device)
        compile_model(model, lambda: objective.loss(model, batch))
    return Moved(model, objective, wrapped, optimizer, weights, trained)


def _callbacks(
    spec: TrainSpec,
    job: Job,
    inputs: Inputs,
    moved: Moved,
    guard: Guard,
    length: Length,
    progress: Progress,
) -> Callbacks:
    first, samples = inputs.strategy.processes.first, None
    if spec.samples.prompts is not None:
        assert inputs.tokenizer is not None, "a model that writes texts reads them"
        samples = Samples(
            spec.samples,
            moved.model,
            inputs.tokenizer,
            inputs.precision,
            job.output / FILE if first else None,
            job.console,
        )
    return make_callbacks(
        spec,
        job,
        guard,
        samples,
        length,
        inputs.strategy.device,
        moved.objective.unit,
        first=first,
        written=progress.finished,
    )


def _validation(spec: TrainSpec, inputs: Inputs, objective: Objective) -> Validation | None:
    held = inputs.examples.validation
    if held is None:
        return None
    batches = validation_batches(spec, objective, held)
    better = better_of(spec)
    return Validation(held, batches, objective, inputs.precision, inputs.measure, better)


def _passes(spec: TrainSpec, progress: Progress, shares: int) -> int:
    """Forward passes of a step in each process: a run that another number of processes began goes
    on with steps of the same examples.

    Args:
        shares: of the data; see `Strategy.shares`.

    Raises:
        UsageError: so many processes cannot share such a step.
    """
    together = spec.gradient_accumulation * progress.processes
    if together % shares:
        kind = "processes" if spec.strategy != "tp" else f"groups of {spec.tp.size} processes"
        raise UsageError(
            f"the interrupted run had {progress.processes} processes (or groups of them) and steps "
            f"of {together} forward passes together, which {shares} {kind} cannot share",
            where="output",
            fix=f"start {progress.processes} {kind}, or another number that divides {together}; "
            "or --force to start over",
        )
    return together // shares


def _parting(spec: TrainSpec) -> str:
    """What a run says that is asked to stop."""
    if every(spec.checkpoint_every).number:
        return "stopping after this step; running it again goes on from there"
    return "stopping after this step; running it again starts over, as checkpoint_every is 0"
