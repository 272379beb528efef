"""What a run starts from: its strategy, its model's files, its examples. What can be wrong with a
spec is found here, before a model is in memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.folder import open_base
from tfcli.devices import Precision, pick_precision
from tfcli.models.config import BaseConfig
from tfcli.process_group import join
from tfcli.processes import started_processes
from tfcli.quantize.load_in import load_in
from tfcli.recipe.job import Job
from tfcli.tokenizers.load import Tokenizer
from tfcli.train.batch import Example
from tfcli.train.beside import Beside, beside_of, read_tokenizer
from tfcli.train.callbacks.samples import require_samples
from tfcli.train.callbacks.trackers import require_trackers
from tfcli.train.feeds.batches import check_budget
from tfcli.train.measures.choose import check_measure
from tfcli.train.measures.measure import Measure
from tfcli.train.objectives.objective import Examples, Material, Objective
from tfcli.train.objectives.registry import make_objective
from tfcli.train.prepare import (
    DTYPES,
    check_config,
    check_machine,
    check_packing,
    check_task,
    config_of,
    new_config,
    start_dtype,
)
from tfcli.train.spec import TrainSpec
from tfcli.train.strategies.accelerate import with_accelerate
from tfcli.train.strategies.registry import pick_strategy
from tfcli.train.strategies.strategy import Strategy


@dataclass(frozen=True)
class Inputs:
    """What is known before there is a model.

    Args:
        spec: with what a config file of accelerate says.
        strategy: how the model will be spread.
        precision: of the forward pass.
        start: what the model is loaded from; None for a new one. The companions of a single file
            lie in a temporary folder, which goes with it.
        config: of a new model.
        tokenizer: of the data; None where these are no texts.
        beside: what goes with the model.
        objective: has seen the data.
        task: the head.
        examples: of the objective.
        first: the first of them.
        measure: what a validation measures beside the loss.
        dtype: of the weights that are written.
    """

    spec: TrainSpec
    strategy: Strategy
    precision: Precision
    start: Checkpoint | None
    config: BaseConfig | None
    tokenizer: Tokenizer | None
    beside: Beside
    objective: Objective
    task: str
    examples: Examples
    first: Example
    measure: Measure | None
    dtype: torch.dtype


def read_inputs(spec: TrainSpec, job: Job) -> Inputs:
    """Join the processes and read everything but weights.

    Raises:
        UsageError: options that do not fit the data, the model, the machine or the launcher.
        WorkError: files that cannot be read.
    """
    spec = with_accelerate(spec, started_processes())
    strategy = pick_strategy(spec, join(spec.device))
    check_machine(spec, strategy.device.type)
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
    kept = start_dtype(None if spec.writes_adapter else start)
    return Inputs(
        spec=spec,
        strategy=strategy,
        precision=pick_precision(spec.precision, strategy.device.type),
        start=start,
        config=config,
        tokenizer=tokenizer,
        beside=beside,
        objective=objective,
        task=task,
        examples=examples,
        first=examples.train.part(0)[0],
        measure=measure,
        dtype=DTYPES[spec.dtype] if spec.dtype else kept,
    )
