"""From a spec to the parts of a run; what can be wrong is found here, before the work."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.folder import open_base
from tfcli.devices import pick_precision
from tfcli.errors import UsageError
from tfcli.models.model import Model
from tfcli.process_group import join
from tfcli.processes import started_processes
from tfcli.quantize.load_in import load_in
from tfcli.recipe.job import Job
from tfcli.tokenizers.load import Tokenizer
from tfcli.train.adalora import Orthogonal, allocate_ranks
from tfcli.train.adapter import all_weights, raise_rates, trained_weights
from tfcli.train.average import WeightAverage
from tfcli.train.batch import Example, on_device
from tfcli.train.beside import Beside, beside_of, read_tokenizer
from tfcli.train.callbacks.make import make_callbacks
from tfcli.train.callbacks.samples import DUE, FILE, Samples, require_samples
from tfcli.train.callbacks.trackers import require_trackers
from tfcli.train.checkpoint import Checkpoints, Progress
from tfcli.train.feeds.batches import check_budget, make_feed, validation_batches
from tfcli.train.guard import Guard
from tfcli.train.loop import Loop
from tfcli.train.measures.choose import better_of, check_measure
from tfcli.train.noise import add_noise
from tfcli.train.objectives.objective import Material
from tfcli.train.objectives.registry import make_objective
from tfcli.train.optimizer import build_optimizer
from tfcli.train.pace import Length, every
from tfcli.train.prepare import (
    DTYPES,
    build_model,
    check_config,
    check_machine,
    check_packing,
    check_task,
    compile_model,
    config_of,
    frozen_model,
    in_steps,
    new_config,
    start_dtype,
)
from tfcli.train.schedule import make_schedule
from tfcli.train.spec import (
    ADAPTER_RATE,
    HIGHEST_ADAPTER_RATE,
    HIGHEST_PRETRAINED_RATE,
    PRETRAINED_RATE,
    TrainSpec,
)
from tfcli.train.strategies.accelerate import with_accelerate
from tfcli.train.strategies.registry import pick_strategy
from tfcli.train.strategies.strategy import Strategy
from tfcli.train.validate import Validation


@dataclass(frozen=True)
class Run:
    """What a run is made of.

    Args:
        spec: with its epochs counted in steps.
        loop: its parts, as the loop takes them.
        progress: how far it is.
        resumed_from: the step that an interrupted run goes on from.
        tokenizer: of the data; None where these are no texts.
        beside: what goes with the model.
        dtype: of the weights that are written.
        weights: how many the model has.
        trained: how many of them are trained.
        first: the first example of all.
        start: what the model was loaded from. The companions of a single file lie in a temporary
            folder, which goes with it.
    """

    spec: TrainSpec
    loop: Loop
    progress: Progress
    resumed_from: int | None
    tokenizer: Tokenizer | None
    beside: Beside
    dtype: torch.dtype
    weights: int
    trained: int
    first: Example
    start: Checkpoint | None = None

    @property
    def model(self) -> Model:
        """The model that is trained."""
        return self.loop.model

    @property
    def companions(self) -> Path:
        """The folder whose tokenizer and other files go with the model."""
        return self.beside.folder

    @property
    def strategy(self) -> Strategy:
        """How it is spread."""
        return self.loop.strategy


def assemble(spec: TrainSpec, job: Job) -> Run:
    """Make the parts of a run, those of an interrupted one as they were.

    Raises:
        UsageError: options that do not fit the data, the model, the machine or the launcher.
        WorkError: files that cannot be read, or all checkpoints of an interrupted run damaged.
    """
    spec = with_accelerate(spec, started_processes())
    processes = join(spec.device)
    strategy = pick_strategy(spec, processes)
    device = strategy.device.type
    precision = pick_precision(spec.precision, device)
    check_machine(spec, device)
    require_trackers(spec.tracking)
    start = None
    if spec.model is not None:
        start = load_in(open_base(spec.model), spec.load_in, job.console)
    check_packing(spec, start)
    objective = make_objective(spec)
    tokenizer = read_tokenizer(spec, start) if objective.reads_text else None
    config = None if spec.config is None else new_config(spec.config, tokenizer)
    begun = config_of(config, start)
    beside = beside_of(spec, start, begun)
    check_config(begun, spec, tokenizer)
    task = objective.task_of(begun)
    check_task(begun, task)
    require_samples(spec.samples, task, begun, None if tokenizer is None else tokenizer.encode)
    material = Material(spec, tokenizer, beside.folder, job.console, begun)
    examples = objective.feed(material)
    measure = None if examples.validation is None else objective.measure(spec.metrics, material)
    check_measure(spec, measure, strategy)
    if examples.held:
        read = () if spec.stream else [each.path for each in spec.sources]
        job.has_read(*read, *filter(None, [spec.validation]))
    check_budget(spec, objective, examples)
    first = examples.train.part(0)[0]
    dtype = (
        DTYPES[spec.dtype] if spec.dtype else start_dtype(None if spec.writes_adapter else start)
    )
    build = partial(
        build_model,
        spec,
        config,
        start,
        strategy=strategy,
        console=job.console,
        keys=objective.config_keys,
        new_head=objective.new_head,
    )
    model = build(task)
    if spec.neftune_alpha is not None:
        add_noise(model, spec.neftune_alpha)
    if spec.adapter.type == "adalora":
        objective = Orthogonal(objective, model)
    weights, trained = all_weights(model), trained_weights(model)
    start_again = partial(build, task, trained=False)
    objective.begin(partial(frozen_model, spec, strategy, model, start_again))

    def make_optimizer(model: Model) -> torch.optim.Optimizer:
        made = build_optimizer(model, spec.optimizer, spec.peak_rate)
        if spec.adapter.lr_ratio is not None:
            raise_rates(model, made, spec.adapter.lr_ratio)
        return made

    wrapped, optimizer = strategy.wrap(model, make_optimizer, spec.clip_norm)
    if spec.compile:
        batch = on_device(objective.collate([first]), strategy.device)
        compile_model(model, lambda: objective.loss(model, batch))
    average = None if spec.ema_decay is None else WeightAverage(model, spec.ema_decay)
    checkpoints = Checkpoints(job.output, job.console, strategy, spec.keep_checkpoints)
    progress = checkpoints.load(model, optimizer, average) or Progress(processes=strategy.shares)
    passes = _passes(spec, progress, strategy.shares)
    feed = make_feed(
        spec, objective, examples.train, passes, strategy.share, strategy.shares, progress.feed
    )
    spec = in_steps(spec, feed)
    allocate_ranks(model, optimizer, spec.max_steps)
    length = Length(spec.max_steps, spec.max_minutes and spec.max_minutes * 60)
    guard = Guard(job.output, processes.rank, spec.spike_factor)
    samples = None
    if spec.samples.prompts is not None:
        assert tokenizer is not None, "a model that writes texts reads them"
        file = job.output / FILE if processes.first else None
        samples = Samples(spec.samples, model, tokenizer, precision, file, job.console)
    loop = Loop(
        model=model,
        wrapped=wrapped,
        strategy=strategy,
        feed=feed,
        objective=objective,
        optimizer=optimizer,
        schedule=make_schedule(spec.schedule, length, spec.warmup_steps),
        precision=precision,
        length=length,
        seed=spec.seed,
        checkpoints=checkpoints,
        callbacks=make_callbacks(
            spec,
            job,
            guard,
            samples,
            length,
            strategy.device,
            objective.unit,
            first=processes.first,
            written=progress.step - (progress.unfinished is not None),
        ),
        guard=guard,
        intervals={
            "validate": every(spec.validate_every),
            "checkpoint": every(spec.checkpoint_every),
            DUE: every(spec.samples.every),
        },
        clip_norm=spec.clip_norm,
        validation=None
        if examples.validation is None
        else Validation(
            examples.validation,
            validation_batches(spec, objective, examples.validation),
            objective,
            precision,
            measure,
            better_of(spec),
        ),
        average=average,
        keep_best=spec.keep == "best",
        answer=lambda: job.console.note(_parting(spec)),
    )
    resumed_from = progress.step or None
    run = Run(
        spec,
        loop,
        progress,
        resumed_from,
        tokenizer,
        beside,
        dtype,
        weights,
        trained,
        first,
        start,
    )
    _introduce(spec, job, run)
    return run


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


def _introduce(spec: TrainSpec, job: Job, run: Run) -> None:
    loop, console = run.loop, job.console
    device = run.strategy.device.type
    highest, usual = HIGHEST_PRETRAINED_RATE, PRETRAINED_RATE
    if spec.has_adapter:
        highest, usual = HIGHEST_ADAPTER_RATE, ADAPTER_RATE
    if spec.model is not None and spec.peak_rate > highest:
        console.warn(
            f"optimizer.lr {spec.peak_rate:g} is far above what a pretrained model bears: it "
            f"forgets what it knew (left out, {usual:g} is used)"
        )
    unit = "examples" if spec.batch_tokens is None else "batches"
    part = f"{unit} in the first buffer" if spec.stream else f"{unit} an epoch"
    console.note(
        f"{run.weights / 1e6:,.2f} M parameters, "
        + (f"{run.trained / 1e6:,.3f} M of them trained, " if run.trained < run.weights else "")
        + f"{loop.feed.part_length:,} {part}, {loop.feed.items_per_step} a step, "
        f"{loop.precision} on {device}"
    )
    found = run.strategy.proof(loop.wrapped)
    if run.strategy.name != "single":
        console.note(found)
    console.note(
        f"learning rate {spec.peak_rate:g}"
        + (f" after {spec.warmup_steps:,} steps of warm-up" if spec.warmup_steps else "")
    )
    if run.resumed_from:
        console.note(f"going on from step {run.resumed_from}")
    first = run.first.get("input_ids")
    if first is not None and run.tokenizer is not None:
        ids = first.flatten()[:8].tolist()
        console.detail(f"first tokens: {ids} = {run.tokenizer.decode(ids)!r}")


def _parting(spec: TrainSpec) -> str:
    """What a run says that is asked to stop."""
    if every(spec.checkpoint_every).number:
        return "stopping after this step; running it again goes on from there"
    return "stopping after this step; running it again starts over, as checkpoint_every is 0"
