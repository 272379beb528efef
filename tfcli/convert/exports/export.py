"""From a checkpoint to a folder with a graph that answers as the model does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tfcli.checkpoints.beside import CONFIG
from tfcli.checkpoints.card import CARD, Origin, card_text
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.folder import load_model
from tfcli.checkpoints.io.dtypes import USER_NAMES, torch_dtype
from tfcli.checkpoints.plan import Plan, make_plan
from tfcli.convert.account import account
from tfcli.convert.containers import with_dtype
from tfcli.convert.exports.formats import Format, Traced
from tfcli.convert.spec import ConvertResult, ConvertSpec
from tfcli.errors import WorkError
from tfcli.files import write_json, write_text
from tfcli.recipe.job import Job
from tfcli.units import format_bytes

if TYPE_CHECKING:
    from tfcli.convert.exports.check import Agreement

# The model, what is written of it, and what runs that: each may hold the weights.
_COPIES = 3
_FIXED_BYTES = 1_000_000_000  # exporters, runtimes, and their work on a graph


@dataclass(frozen=True)
class Exported:
    """What an export made.

    Args:
        files: with the graph and its weights.
        inputs: each with its dimensions, for people.
        outputs: their names.
        agreement: with the model; None where that was not asked for.
    """

    files: list[Path]
    inputs: dict[str, str]
    outputs: list[str]
    agreement: Agreement | None


def export(view: Checkpoint, spec: ConvertSpec, job: Job, form: Format) -> ConvertResult:
    """Write a checkpoint's model as a graph; with `dry_run` only say what it would be.

    Raises:
        WorkError: a package is missing; quantized weights; a model that the format cannot hold; a
            graph that does not answer as the model does.
        ModelError: a family or setting that is not supported, or tensors that do not belong to
            the config.
    """
    form.require()
    if view.config.get("quantization_config") is not None:
        raise WorkError(
            f"quantized weights cannot be exported to {form.title}",
            where=str(view.path),
            fix="unpack them first: tfcli dequantize",
        )
    wanted = None if spec.dtype is None else USER_NAMES[spec.dtype]
    plan = make_plan(view, wanted, compare_ties=False)
    types = {item.dtype for item in plan.written}
    unable = types & set(form.cannot_run)
    if unable and spec.verify != "none":
        raise WorkError(
            f"{form.title} graphs in {unable.pop()} do not run on a CPU, so none can be checked",
            where="dtype",
            fix="dtype: fp32 or fp16; or verify: none, which writes it unchecked",
        )
    if spec.dry_run:
        job.console.note(f"graph: {_planned(view, form)}")
        return _result(plan, spec, None, [])
    bound = form.bound(types)
    made = _make(view, spec, job, form, bound)
    companions = view.carry_along(job.output)
    write_json(job.output / CONFIG, with_dtype(plan.config, wanted))
    write_text(job.output / CARD, _card(plan, spec, job, made, form, bound))
    return _result(plan, spec, made, companions)


def _planned(view: Checkpoint, form: Format) -> str:
    """The graph in words, from the config alone."""
    from tfcli.convert.exports.graph import output_names
    from tfcli.convert.exports.inputs import described
    from tfcli.models.loading import build
    from tfcli.models.registry import read_config

    model = build(read_config(view.config), None, at_most=view.most_values)
    return _words(described(model, form.rows), output_names(model.task))


def _make(view: Checkpoint, spec: ConvertSpec, job: Job, form: Format, bound: float) -> Exported:
    """Load, trace, write, run, compare. The model is gone when the graph is run."""
    import torch

    from tfcli.convert.exports.check import compare, known_answers, spared
    from tfcli.convert.exports.graph import Graph, output_names, refusals, trace
    from tfcli.convert.exports.inputs import described, dimensions

    wanted = None if spec.dtype is None else torch_dtype(USER_NAMES[spec.dtype])
    with job.console.progress("loading, tracing, writing, running", 4, "steps") as bar:
        model = load_model(view, task=None, dtype=wanted)
        inputs, outputs = described(model, form.rows), output_names(model.task)
        graph = Graph(model).eval()
        known = known_answers(graph, rows=form.rows) if spec.verify != "none" else []
        spare, subject = spared(model), f"{model.config.model_type} for {model.task}"
        names = dimensions(model, form.rows)
        bar.advance()
        # Without gradients, with which attention is taken apart in another way.
        with refusals(subject, form.title), torch.no_grad():
            traced = Traced(trace(graph, rows=form.rows, longest=form.longest), names, outputs)
            del model, graph
            bar.advance()
            files = form.write(traced, job.output)
            del traced
            bar.advance()
            agreement = None
            if known:
                run = form.open(job.output, outputs)
                agreement = compare(run, known, bound, spare, str(files[0]))
            bar.advance()
    job.console.note(f"graph: {_words(inputs, outputs)}")
    return Exported(files, inputs, outputs, agreement)


def _words(inputs: dict[str, str], outputs: list[str]) -> str:
    given = ", ".join(f"{name} {sizes}" for name, sizes in inputs.items())
    return f"{given} -> {', '.join(outputs)}"


def _card(
    plan: Plan, spec: ConvertSpec, job: Job, made: Exported, form: Format, bound: float
) -> str:
    view, agreement = plan.view, made.agreement
    checked = "not asked for"
    if agreement is not None:
        checked = f"{agreement.outputs} outputs of the graph compared with the model's: they differ"
        checked += f" by at most {agreement.largest:.2g} of their largest number (allowed: "
        checked += f"{bound:.2g})"
    facts = {
        "family": f"`{view.config.get('model_type')}`",
        "format": f"{form.title}, {', '.join(path.name for path in made.files)}",
        "inputs": ", ".join(f"`{name}` {sizes}" for name, sizes in made.inputs.items()),
        "outputs": ", ".join(f"`{name}`" for name in made.outputs),
        "tokens": f"at most {form.longest}" if form.longest else "",
        "size": f"{format_bytes(view.stored_bytes)} -> {format_bytes(_size(made.files))}",
        "verified": checked,
    }
    origin = Origin("source", spec.source, view.container)
    return card_text("exported", [origin], job.inputs, facts)


def _size(files: list[Path]) -> int:
    return sum(path.stat().st_size for path in files)


def _result(
    plan: Plan, spec: ConvertSpec, made: Exported | None, companions: list[str]
) -> ConvertResult:
    view, actions = plan.view, [item.action for item in plan.items]
    agreement = None if made is None else made.agreement
    return ConvertResult(
        kind=view.container,
        to=spec.to,
        dry_run=made is None,
        files=[] if made is None else [path.name for path in made.files],
        source_bytes=view.stored_bytes,
        bytes=plan.nbytes if made is None else _size(made.files),
        peak_bytes=_COPIES * plan.nbytes + _FIXED_BYTES,
        converted=actions.count("converted"),
        copied=actions.count("copied"),
        made=actions.count("made"),
        tied=actions.count("tied"),
        verified=0 if agreement is None else agreement.outputs,
        largest_error=0.0 if agreement is None else agreement.largest,
        companions=companions,
        left_out=[],
        unused=dict(view.unused),
        tensors=[account(item) for item in plan.items],
    )
