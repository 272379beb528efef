"""Conversions into containers of tensors: planned, written one tensor at a time, read again."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

from tfcli.checkpoints.beside import CONFIG
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.container import Reading, WriteOptions, Writer
from tfcli.checkpoints.containers import open_checkpoint
from tfcli.checkpoints.fit import require_fit
from tfcli.checkpoints.hf.source import INDEX, SETTINGS_BESIDE
from tfcli.checkpoints.io.dtypes import TORCH_NAMES, USER_NAMES
from tfcli.checkpoints.io.file_tensor import watched
from tfcli.checkpoints.plan import Plan, Planned, make_plan
from tfcli.console import Bar
from tfcli.convert.account import account
from tfcli.convert.card import CARD, model_card
from tfcli.convert.logits.spec import LogitsAccount
from tfcli.convert.spec import ConvertResult, ConvertSpec
from tfcli.files import write_json, write_text
from tfcli.recipe.job import Job
from tfcli.recipe.record import RECORD
from tfcli.tokenizers.files import left_behind


def convert_tensors(view: Checkpoint, spec: ConvertSpec, job: Job, writer: Writer) -> ConvertResult:
    """Convert a view with a writer. See `tfcli.convert.run.run` for the errors."""
    view = writer.prepare(view)
    wanted = None if spec.dtype is None else USER_NAMES[spec.dtype]
    plan = make_plan(view, wanted, compare_ties=not spec.dry_run)
    shapes = {item.tensor.name: item.tensor.shape for item in plan.written}
    if plan.config and not require_fit(plan.config, shapes, view.path):
        job.console.note(
            "the family or the packing is not known: names and shapes are taken as they are"
        )
    options = WriteOptions(spec.max_shard_bytes, spec.parts)
    writer.check(plan, options)
    if spec.dry_run:
        return _result(plan, spec)
    # torch comes with these; a dry run takes a third of the time without it.
    from tfcli.checkpoints.io.tensor_pieces import one_thread
    from tfcli.checkpoints.verify import verify

    if spec.verify == "logits":
        from tfcli.convert.logits.compare import require_runnable

        require_runnable(view)
    if plan.apart:
        apart = ", ".join(plan.apart)
        job.console.warn(f"{apart} differs from what the config ties it to: written untied")
    steps = Counter(step for item in plan.written for step in item.tensor.how.split(", "))
    for step, count in steps.items():
        if step.endswith("dequantized"):
            job.console.note(f"{count} tensors: {step}")
    with one_thread(), job.console.progress("writing", len(plan.written), "tensors") as bar:
        files = writer.write(_watched(plan, bar), job.output, options)
    companions = view.carry_along(job.output)
    if not plan.config.get("quantization_config"):  # what it says would be wrong of dense weights
        for name in SETTINGS_BESIDE:
            (job.output / name).unlink(missing_ok=True)
        companions = [name for name in companions if name not in SETTINGS_BESIDE]
    if not writer.own_config:
        write_json(job.output / CONFIG, with_dtype(plan.config, wanted))
    verified = 0
    asked = Reading(packed=True)  # what is compared are the tensors that were written
    if spec.verify != "none":
        with one_thread(), job.console.progress("verifying", len(plan.written), "tensors") as bar:
            verify(plan, open_checkpoint(job.output, asked), bar)
        verified = len(plan.written)
    logits = None
    if spec.verify == "logits":
        from tfcli.convert.logits.compare import compare_logits

        # Where a tie does not hold, only the target's config describes the source's tensors.
        source = dataclasses.replace(view, config=plan.config)
        logits = compare_logits(source, open_checkpoint(job.output))
    names = [path.relative_to(job.output).as_posix() for path in files]
    result = _result(plan, spec, names, verified, companions, logits)
    card = model_card(result, spec.source, job.inputs, plan.config, result.compared())
    write_text(job.output / CARD, card)
    return result


def _watched(plan: Plan, bar: Bar) -> Plan:
    """The plan, whose tensors move the bar when they are read for the first time."""
    seen = set()

    def begun(name: str) -> None:
        if name not in seen:
            seen.add(name)
            bar.advance()

    def each(item: Planned) -> Planned:
        read = watched(item.tensor.read, partial(begun, item.tensor.name))
        return dataclasses.replace(item, tensor=dataclasses.replace(item.tensor, read=read))

    return dataclasses.replace(plan, items=tuple(each(item) for item in plan.items))


def with_dtype(config: dict[str, Any], code: str | None) -> dict[str, Any]:
    """A config.json with its dtype keys, old and new spelling, nested ones too, set to `code`.

    The new spelling is added at the top when there is neither.
    """
    if code is None:
        return config
    name = TORCH_NAMES[code]

    def update(part: dict[str, Any]) -> dict[str, Any]:
        out = {}
        for key, value in part.items():
            if key in ("dtype", "torch_dtype"):
                value = name
            elif key.endswith("_config") and key != "quantization_config":
                value = update(value) if isinstance(value, dict) else value
            elif key == "encoders" and isinstance(value, dict):  # of a composed model, by name
                value = {k: update(v) if isinstance(v, dict) else v for k, v in value.items()}
            out[key] = value
        return out

    out = update(config)
    return out if out.keys() & {"dtype", "torch_dtype"} else {**out, "dtype": name}


def _result(
    plan: Plan,
    spec: ConvertSpec,
    files: Sequence[str] = (),
    verified: int = 0,
    companions: Sequence[str] = (),
    logits: LogitsAccount | None = None,
) -> ConvertResult:
    view, actions = plan.view, [item.action for item in plan.items]
    inside = (path.relative_to(view.path) for path in view.files if path.is_relative_to(view.path))
    # The source may be one of the files itself: then no part of its path is inside.
    weights = {part for path in inside for part in path.parts[:1]}
    carried = {CARD, CONFIG, INDEX, RECORD, *companions, *weights}
    others = left_behind(view.path, carried) if files and view.path.is_dir() else []
    return ConvertResult(
        kind=view.container,
        to=spec.to,
        dry_run=spec.dry_run,
        files=list(files),
        source_bytes=view.stored_bytes,
        bytes=plan.nbytes,
        peak_bytes=plan.peak_bytes,
        converted=actions.count("converted"),
        copied=actions.count("copied"),
        made=actions.count("made"),
        tied=actions.count("tied"),
        verified=verified,
        logits=logits,
        companions=list(companions),
        left_out=others,
        unused=dict(view.unused),
        tensors=[account(item) for item in plan.items],
    )
