"""`tfcli convert`: stream a checkpoint into another container, dtype or shard size.

The model is never built: a reader shows the source as Hugging Face's tensors (`view.py`), and they
go to the new files one at a time. Then what was written is read again and compared with the source.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from tfcli.checkpoints.dtypes import TORCH_NAMES, USER_NAMES
from tfcli.checkpoints.folder import CONFIG, copy_companions
from tfcli.checkpoints.safetensors import PendingTensor
from tfcli.checkpoints.shards import write_shards
from tfcli.checkpoints.source import INDEX
from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.torch_write import write_torch_shards
from tfcli.console import Bar
from tfcli.convert.card import CARD, model_card
from tfcli.convert.casting import cast, same_after_cast
from tfcli.convert.detect import open_view
from tfcli.convert.memory import give_back_freed
from tfcli.convert.plan import Plan, Planned, make_plan
from tfcli.convert.spec import ConvertResult, ConvertSpec, TensorAccount
from tfcli.convert.view import View
from tfcli.convert.writers import meta
from tfcli.errors import WorkError
from tfcli.files import write_json, write_text
from tfcli.hub import resolve
from tfcli.recipe.job import Job
from tfcli.recipe.record import RECORD


def run(spec: ConvertSpec, job: Job) -> ConvertResult:
    """Convert `spec.source` into the job's folder; with `dry_run` only say what would be done.

    Raises:
        UsageError: the source is not a folder, or of no kind that is read.
        WorkError: broken files, a value that the new type cannot hold, a full disk, or written
            tensors that differ from the source's.
    """
    give_back_freed()
    folder = resolve(spec.source)
    config_from = None if spec.config_from is None else resolve(spec.config_from)
    view = open_view(folder, config_from=config_from)
    if spec.to == "gguf":
        from tfcli.convert.writers.gguf import convert

        return convert(view, spec, job)
    view = meta.prepare(view) if spec.to == "meta" else view
    wanted = None if spec.dtype is None else USER_NAMES[spec.dtype]
    plan = make_plan(view, wanted, compare_ties=not spec.dry_run)
    if spec.dry_run:
        return _result(plan, files=[], verified=0, companions=[])
    if plan.apart:
        apart = ", ".join(plan.apart)
        job.console.warn(f"{apart} differs from what the config ties it to: written untied")
    with job.console.progress("writing", len(plan.written), "tensors") as bar:
        files = _write(plan, spec, job, bar)
    companions = [] if view.companions is None else copy_companions(view.companions, job.output)
    companions += [] if view.carry is None else view.carry(job.output)
    if spec.to != "meta":
        write_json(job.output / CONFIG, with_dtype(plan.config, wanted))
    with job.console.progress("verifying", len(plan.written), "tensors") as bar:
        verify(plan, open_view(job.output), bar)
    card = model_card(plan, spec.source, job.inputs, len(plan.written))
    write_text(job.output / CARD, card)
    names = [path.name for path in files]
    return _result(plan, files=names, verified=len(plan.written), companions=companions)


def _write(plan: Plan, spec: ConvertSpec, job: Job, bar: Bar) -> list[Path]:
    """Write the weights in the container that was asked for."""
    if spec.to == "meta":
        return meta.write(plan, job.output)
    write = write_torch_shards if spec.to == "pt" else write_shards
    return write(job.output, list(_pending(plan, bar)), spec.max_shard_bytes)


def verify(plan: Plan, written: View, bar: Bar) -> None:
    """Compare what was written with the source.

    Raises:
        WorkError: a tensor is missing, was not asked for, or differs in type, shape or any bit.
    """
    planned = {item.tensor.name: item for item in plan.written}
    if written.tensors.keys() != planned.keys():
        odd = sorted(written.tensors.keys() ^ planned.keys())
        raise WorkError(f"verification: {short(odd[0])} is missing or was not to be written")
    for name, item in planned.items():
        found = written.tensors[name]
        if found.dtype != item.dtype or not same_after_cast(item.tensor.read(), found.read()):
            raise WorkError(
                f"verification: {short(name)} differs from the source",
                where=str(written.path),
                fix="run it again; if it happens again, check the disk and the memory",
            )
        bar.advance()


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
            out[key] = value
        return out

    out = update(config)
    return out if out.keys() & {"dtype", "torch_dtype"} else {**out, "dtype": name}


def _pending(plan: Plan, bar: Bar) -> Iterator[PendingTensor]:
    def read(item: Planned) -> Tensor:
        bar.advance()
        return cast(item.tensor.read(), item.dtype, item.tensor.name)

    for item in plan.written:
        tensor = item.tensor
        yield PendingTensor(tensor.name, item.dtype, tensor.shape, partial(read, item))


def _result(plan: Plan, *, files: list[str], verified: int, companions: list[str]) -> ConvertResult:
    view, actions = plan.view, [item.action for item in plan.items]
    beside = view.path.iterdir() if view.path.is_dir() else ()
    inside = (path.relative_to(view.path) for path in view.files if path.is_relative_to(view.path))
    carried = {CARD, CONFIG, INDEX, RECORD, *companions, *(path.parts[0] for path in inside)}
    others = {path.name for path in beside if not path.name.startswith(".")} - carried
    return ConvertResult(
        kind=view.kind,
        dry_run=not files,
        files=files,
        source_bytes=view.stored_bytes,
        bytes=plan.nbytes,
        peak_bytes=plan.peak_bytes,
        converted=actions.count("converted"),
        copied=actions.count("copied"),
        made=actions.count("made"),
        tied=actions.count("tied"),
        verified=verified,
        companions=companions,
        left_out=sorted(others) if files else [],
        unused=dict(view.unused),
        tensors=[_account(item) for item in plan.items],
    )


def _account(item: Planned) -> TensorAccount:
    tensor = item.tensor
    return TensorAccount(
        name=tensor.name,
        action=item.action,
        sources=list(tensor.sources),
        how=tensor.how,
        shape=list(tensor.shape),
        source_dtype=tensor.dtype,
        dtype=item.dtype,
        bytes=item.nbytes,
    )
