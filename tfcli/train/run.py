"""`tfcli train`: make the parts, run the loop, write the model."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from tfcli.adapters.config import peft_config
from tfcli.adapters.write import plan_adapter, write_planned
from tfcli.checkpoints.beside import copy_companions
from tfcli.checkpoints.card import CARD
from tfcli.checkpoints.folder import save_exports
from tfcli.files import write_text
from tfcli.models.adapters.attach import DEFAULT
from tfcli.models.adapters.control import merge_adapters
from tfcli.models.model import Model
from tfcli.models.saving import export_config, plan_export
from tfcli.process_group import losses_named
from tfcli.recipe.job import Job
from tfcli.tokenizers.load import Tokenizer
from tfcli.train.assemble import Run, assemble
from tfcli.train.card import model_card
from tfcli.train.gather import Read, led
from tfcli.train.introduction import introduce
from tfcli.train.log import METRICS, read_metrics
from tfcli.train.prepare import DTYPES, written_dtype
from tfcli.train.spec import TrainResult, TrainSpec

WRITES = ("causal-lm", "seq2seq-lm")
"""The tasks whose models write texts."""


def run(spec: TrainSpec, job: Job) -> TrainResult:
    """Train a model and write it as a Hugging Face folder with its metrics.jsonl.

    Under torchrun every process calls this with the same folder; the first one writes.

    Raises:
        UsageError: options that do not fit the data, the model or the machine.
        WorkError: numbers that are not finite, all checkpoints of an interrupted run damaged, or
            another process gone.
        KeyboardInterrupt: after a checkpoint.
    """
    made = assemble(spec, job)
    introduce(made, job.console)
    spec = made.spec
    processes = made.strategy.processes
    with losses_named():
        made.loop.run(made.progress)
    if made.progress.ended:
        job.console.note(f"ended after step {made.progress.step:,}: {made.progress.ended}")
    processes.wait()
    dtype = _write(spec, job, made)
    result = _result(spec, job, made, dtype)
    if processes.first:
        write_text(job.output / CARD, model_card(spec, result, job.inputs))
    processes.wait()  # from here on the first process may rename the folder
    return result


def _write(spec: TrainSpec, job: Job, run: Run) -> torch.dtype:
    """Write the model or its adapter, with the best weights where these are kept.

    Returns:
        the dtype of its weights
    """
    model = run.model
    if spec.keep == "best":
        run.strategy.load_weights(model, run.loop.checkpoints.best)
    elif run.loop.average is not None:
        run.loop.average.swap()
    run.strategy.open(model)
    if spec.adapter.merge:
        merge_adapters(model)
    moved = [each for each in model.parameters() if each.requires_grad or not spec.writes_adapter]
    dtype = written_dtype(moved, run.inputs.dtype, job.console)
    write = _write_adapter if spec.writes_adapter else _write_whole
    write(spec, job, run, dtype)
    return dtype


def _write_adapter(spec: TrainSpec, job: Job, run: Run, dtype: torch.dtype) -> None:
    model, bias = run.model, spec.adapter.bias
    pending = plan_adapter(model, bias=bias, dtype=dtype)

    def write(reads: Sequence[Read]) -> None:
        items = [replace(item, read=read) for item, read in zip(pending, reads, strict=True)]
        write_planned(items, peft_config(model, DEFAULT, base=spec.model, bias=bias), job.output)
        copy_companions(run.inputs.beside.folder, job.output)

    led([item.read for item in pending], run.strategy.processes, write)


def _write_whole(spec: TrainSpec, job: Job, run: Run, dtype: torch.dtype) -> None:
    model, processes = run.model, run.strategy.processes
    exports, config = plan_export(model, dtype=dtype), export_config(model, dtype=dtype)
    writes = spec.config is not None and model.task in WRITES
    tokenizer, beside = run.inputs.tokenizer, run.inputs.beside.folder
    new = _generation_config(model, tokenizer) if writes and tokenizer else None

    def write(reads: Sequence[Read]) -> None:
        items = [replace(item, read=read) for item, read in zip(exports, reads, strict=True)]
        save_exports(items, config, job.output, tokenizer_from=beside, generation_config=new)

    led([item.read for item in exports], processes, write)


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
        "decoder_start_token_id": getattr(model.config.text, "decoder_start_token_id", None),
    }
    return {name: value for name, value in ids.items() if value is not None}


def _result(spec: TrainSpec, job: Job, run: Run, dtype: torch.dtype) -> TrainResult:
    metrics, progress = job.output / METRICS, run.progress
    lines = read_metrics(metrics)
    last = lines[-max(1, min(100, len(lines) // 10)) :]
    return TrainResult(
        steps=progress.step,
        tokens=progress.tokens,
        unit=run.loop.objective.unit,
        epochs=round(run.loop.feed.epochs_after(progress.step), 3),
        parameters=run.moved.weights,
        trainable=run.moved.trained,
        train_loss=statistics.fmean(line["loss"] for line in last),
        validation_loss=lines[-1].get("val_loss"),
        metrics=_metrics(lines[-1]),
        best_metrics=_metrics(progress.best or {}),
        best_validation_loss=progress.best and progress.best["val_loss"],
        best_step=progress.best_step,
        kept=spec.keep,
        tokens_per_second=statistics.median(line["tokens_per_second"] for line in lines),
        seconds=round(progress.seconds, 2),
        learning_rate=spec.peak_rate,
        warmup_steps=spec.warmup_steps,
        dtype=next(name for name, known in DTYPES.items() if known == dtype),
        precision=run.loop.precision,
        device=run.strategy.device.type,
        processes=run.strategy.processes.count,
        resumed_from=run.resumed_from,
        ended=progress.ended,
    )


def _metrics(figures: Mapping[str, float]) -> dict[str, float]:
    """What was measured on a validation beside its loss, by the metrics' names."""
    return {
        name.removeprefix("val_"): value
        for name, value in figures.items()
        if name.startswith("val_") and name != "val_loss"
    }
