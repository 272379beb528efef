"""`tfcli train`: check everything, build the parts, run the loop, write the model."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from tfcli.checkpoints.card import CARD
from tfcli.checkpoints.folder import open_model, save_model
from tfcli.devices import Precision, pick_device, pick_precision
from tfcli.errors import UsageError, WorkError
from tfcli.files import write_text
from tfcli.models.model import Model
from tfcli.processes import started_processes
from tfcli.recipe.job import Job
from tfcli.tokenizers.load import Tokenizer, load_tokenizer
from tfcli.train.batches import Feed
from tfcli.train.card import model_card
from tfcli.train.checkpoint import Checkpoints, Progress
from tfcli.train.log import METRICS, MetricsLog, read_metrics
from tfcli.train.loop import Loop
from tfcli.train.objective import next_token
from tfcli.train.optimizer import build_optimizer
from tfcli.train.prepare import (
    DTYPES,
    build_model,
    check_config,
    check_machine,
    compile_model,
    new_config,
    read_text,
    start_dtype,
    tokenizer_folder,
    written_dtype,
)
from tfcli.train.schedule import make_schedule
from tfcli.train.spec import HIGHEST_PRETRAINED_RATE, PRETRAINED_RATE, TrainResult, TrainSpec
from tfcli.train.validate import Validation
from tfcli.train.weights import load_weights_into


def run(spec: TrainSpec, job: Job) -> TrainResult:
    """Train a model and write it as a Hugging Face folder with its metrics.jsonl.

    Under torchrun every process calls this with the same folder; the first one writes.

    Raises:
        UsageError: options that do not fit the data, the model or the machine.
        WorkError: numbers that are not finite, or all checkpoints of an interrupted run damaged.
        KeyboardInterrupt: after a checkpoint.
    """
    device = pick_device(spec.device).type
    precision = pick_precision(spec.precision, device)
    check_machine(spec, device)
    accelerator = start_processes(device)
    start = None if spec.model is None else open_model(spec.model)
    folder = tokenizer_folder(spec, start)
    tokenizer = load_tokenizer(spec.tokenizer or folder)
    config = None if spec.config is None else new_config(spec.config, tokenizer)
    if config is not None:
        check_config(config, spec, tokenizer)
    text = read_text(spec, tokenizer, job.console)
    job.has_read(*filter(None, [spec.data, spec.validation]))
    dtype = DTYPES[spec.dtype] if spec.dtype else start_dtype(start)
    model = build_model(spec, config, start)
    if config is None:
        check_config(model.config.text, spec, tokenizer)

    feed = Feed(
        stream=text.stream,
        length=spec.sequence_length,
        batch_size=spec.batch_size,
        accumulation=spec.gradient_accumulation,
        seed=spec.seed,
        rank=accelerator.process_index,
        processes=accelerator.num_processes,
    )
    prepared = accelerator.prepare(model)
    if spec.compile:
        compile_model(model)
    optimizer = build_optimizer(model, spec.optimizer, spec.peak_rate)
    checkpoints = Checkpoints(job.output, job.console)
    progress = resume(checkpoints, model, optimizer, accelerator)
    resumed_from = progress.step if progress.step else None
    feed.epoch_starts = list(progress.epoch_starts)
    _introduce(spec, job, model, feed, tokenizer, precision, device, resumed_from)

    metrics = job.output / METRICS
    written = progress.step - (progress.unfinished is not None)
    log = MetricsLog(metrics if accelerator.is_main_process else None, written)
    loop = Loop(
        model=prepared,
        accelerator=accelerator,
        feed=feed,
        objective=next_token,
        optimizer=optimizer,
        lr=spec.peak_rate,
        schedule=make_schedule(
            spec.schedule.name,
            steps=spec.max_steps,
            warmup_steps=spec.warmup_steps,
            final_ratio=spec.schedule.final_ratio,
        ),
        precision=precision,
        steps=spec.max_steps,
        seed=spec.seed,
        log=log,
        checkpoints=checkpoints,
        clip_norm=spec.clip_norm,
        validation=None
        if text.validation is None
        else Validation(
            text.validation, spec.sequence_length, spec.batch_size, next_token, precision
        ),
        validate_every=spec.validate_every,
        checkpoint_every=spec.checkpoint_every,
        keep_best=spec.keep == "best",
        answer=lambda: job.console.note(_parting(spec)),
    )
    try:
        with job.console.progress("train", spec.max_steps, "step") as bar:
            bar.advance(written)
            loop.run(progress, bar)
    finally:
        log.close()
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        best = checkpoints.best if spec.keep == "best" else None
        dtype = _write(spec, job, model, folder, tokenizer, best, dtype)
    result = _result(spec, progress, model, feed, metrics, dtype, precision, device, resumed_from)
    if accelerator.is_main_process:
        write_text(job.output / CARD, model_card(spec, result, job.inputs))
    accelerator.wait_for_everyone()  # from here on the first process may rename the folder
    return result


def start_processes(device: str) -> Accelerator:
    """Join the other processes, if torchrun started several.

    accelerate's own mixed precision stays off: it copies every output to float32; the loop opens
    autocast itself.

    Raises:
        WorkError: fewer processes work together than were started.
    """
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no")
    started = started_processes()
    if accelerator.num_processes != started:
        raise WorkError(
            f"{started} processes were started, {accelerator.num_processes} work together",
            fix="start them with torchrun, on devices of one kind",
        )
    return accelerator


def resume(
    checkpoints: Checkpoints,
    model: Model,
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
) -> Progress:
    """Where an interrupted run was, with the model and the optimizer as they were then.

    Raises:
        UsageError: it ran with another number of processes, so its data cannot be continued.
        WorkError: its checkpoints are damaged.
    """
    progress = checkpoints.load(model, optimizer)
    if progress is None:
        return Progress(processes=accelerator.num_processes)
    if progress.processes != accelerator.num_processes:
        raise UsageError(
            f"the interrupted run had {progress.processes} processes, "
            f"this one has {accelerator.num_processes}",
            where="output",
            fix=f"start {progress.processes} processes, or --force to start over",
        )
    accelerator.wait_for_everyone()
    return progress


def _introduce(
    spec: TrainSpec,
    job: Job,
    model: Model,
    feed: Feed,
    tokenizer: Tokenizer,
    precision: Precision,
    device: str,
    resumed_from: int | None,
) -> None:
    stream = feed.stream(0)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if spec.model is not None and spec.peak_rate > HIGHEST_PRETRAINED_RATE:
        job.console.warn(
            f"optimizer.lr {spec.peak_rate:g} is far above what a pretrained model bears: it "
            f"forgets what it knew (left out, {PRETRAINED_RATE:g} is used)"
        )
    job.console.note(
        f"{parameters / 1e6:,.2f} M parameters, {len(stream):,} tokens an epoch, "
        f"{feed.windows_per_step * spec.sequence_length:,} a step, {precision} on {device}"
        + (f", {feed.processes} processes" if feed.processes > 1 else "")
    )
    job.console.note(
        f"learning rate {spec.peak_rate:g}"
        + (f" after {spec.warmup_steps:,} steps of warm-up" if spec.warmup_steps else "")
    )
    if resumed_from:
        job.console.note(f"going on from step {resumed_from}")
    first = stream[:8].tolist()
    job.console.detail(f"first tokens: {first} = {tokenizer.decode(first)!r}")


def _parting(spec: TrainSpec) -> str:
    """What a run says that is asked to stop."""
    if spec.checkpoint_every:
        return "stopping after this step; running it again goes on from there"
    return "stopping after this step; running it again starts over, as checkpoint_every is 0"


def _write(
    spec: TrainSpec,
    job: Job,
    model: Model,
    companions: Path,
    tokenizer: Tokenizer,
    best: Path | None,
    dtype: torch.dtype,
) -> torch.dtype:
    """Write the model, with the weights of the file `best` where there is one.

    Returns:
        the dtype of its weights
    """
    if best is not None:
        load_weights_into(model, best)
    dtype = written_dtype(model, dtype, job.console)
    save_model(
        model,
        job.output,
        dtype=dtype,
        tokenizer_from=companions,
        generation_config=None if spec.config is None else _generation_config(model, tokenizer),
    )
    return dtype


def _generation_config(model: Model, tokenizer: Tokenizer) -> dict[str, Any]:
    """What tools that generate need to know of a new model: where a text begins and ends.

    Where the tokenizer has a token that ends a turn of a conversation, it ends a text too.
    """
    end, turn = model.config.text.eos_token_id, tokenizer.special_ids.get("eot_token")
    ends = [*(end if isinstance(end, list) else [end]), turn]
    known = [each for each in dict.fromkeys(ends) if each is not None]
    ids = {
        "bos_token_id": model.config.text.bos_token_id,
        "eos_token_id": known if len(known) > 1 else next(iter(known), None),
        "pad_token_id": tokenizer.pad_id,
    }
    return {name: value for name, value in ids.items() if value is not None}


def _result(
    spec: TrainSpec,
    progress: Progress,
    model: Model,
    feed: Feed,
    metrics: Path,
    dtype: torch.dtype,
    precision: Precision,
    device: str,
    resumed_from: int | None,
) -> TrainResult:
    lines = read_metrics(metrics)
    last = lines[-max(1, min(100, spec.max_steps // 10)) :]
    return TrainResult(
        steps=progress.step,
        tokens=progress.tokens,
        epochs=round(feed.epochs_after(progress.step), 3),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        train_loss=statistics.fmean(line["loss"] for line in last),
        validation_loss=lines[-1].get("val_loss"),
        best_validation_loss=progress.best_loss,
        best_step=progress.best_step,
        kept=spec.keep,
        tokens_per_second=statistics.median(line["tokens_per_second"] for line in lines),
        seconds=round(progress.seconds, 2),
        learning_rate=spec.peak_rate,
        warmup_steps=spec.warmup_steps,
        dtype=next(name for name, known in DTYPES.items() if known == dtype),
        precision=precision,
        device=device,
        processes=progress.processes,
        resumed_from=resumed_from,
    )
