"""`tfcli quantize`: from a checkpoint folder to a quantized one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

import tfcli
from tfcli.checkpoints.beside import CONFIG, warn_of_lost_modules
from tfcli.checkpoints.checkpoint import Checkpoint, Weights
from tfcli.checkpoints.fit import require_fit
from tfcli.checkpoints.folder import open_model
from tfcli.checkpoints.write import Written
from tfcli.console import Bar
from tfcli.devices import pick_device
from tfcli.errors import UsageError
from tfcli.files import write_json
from tfcli.models.folding import folds_of
from tfcli.models.layouts.layout import Layout
from tfcli.models.layouts.registry import get_layout
from tfcli.models.loading import build
from tfcli.models.model import Model
from tfcli.models.walks import linears_of
from tfcli.quantize.finite import require_finite
from tfcli.quantize.methods.method import Method
from tfcli.quantize.methods.registry import get_method
from tfcli.quantize.plan import (
    DEFAULT_GROUP_SIZES,
    Choice,
    LinearPlan,
    Plan,
    Unit,
    default_group_size,
    make_plan,
)
from tfcli.quantize.processes import Processes, join
from tfcli.quantize.report import report, warn_of_few_tokens
from tfcli.quantize.spec import Calibration, QuantizeResult, QuantizeSpec
from tfcli.quantize.unseen import unseen_linears
from tfcli.quantize.write import BlockFiles, LayerResult
from tfcli.recipe.job import Job

if TYPE_CHECKING:
    from tfcli.quantize.walk import Done


def run(spec: QuantizeSpec, job: Job) -> QuantizeResult:
    """Quantize a checkpoint.

    Under torchrun every process calls this with the same folder; the first one writes.

    Raises:
        UsageError: the model, the group size or the calibration text do not fit together.
        WorkError: a broken file, or numbers that are not finite.
    """
    processes = join(spec.device)
    result = _made(spec, job, processes)
    if processes.count > 1:  # the others wait: when the first one returns, the folder is moved
        told = processes.told("" if result is None else result.model_dump_json())
        result = result or QuantizeResult.model_validate_json(told)
    assert result is not None, "the first process has one"
    return result


def _made(spec: QuantizeSpec, job: Job, processes: Processes) -> QuantizeResult | None:
    """What was written; None in a process that another one writes for."""
    checkpoint = open_model(spec.model)
    config = checkpoint.model_config
    if config.quantization is not None:
        raise UsageError(
            "the checkpoint is quantized already",
            where=f"{checkpoint.path}: quantization_config",
            fix="quantize the checkpoint that it was made from",
        )
    require_fit(checkpoint.config, {t.name: t.shape for t in checkpoint}, checkpoint.path)
    model = build(config, at_most=checkpoint.most_values)
    chosen = get_method(spec.method)
    unseen = unseen_linears(model, spec.method, job) if chosen.calibrated else None
    choice = Choice.of(spec, unseen)
    if spec.layout == "gguf":
        return _into_gguf(spec, job, checkpoint, model, choice, processes)
    if chosen.folds:
        _require_pairs(spec, model)
    group_size = spec.group_size or chosen.usual_group_size
    if group_size is None:
        group_size = _default_group_size(job, model, choice)
    method = chosen(spec, group_size)
    left_out = choice.reasons(list(linears_of(model)))
    layout = _layout(spec, method, [name for name in linears_of(model) if name not in left_out])
    plan = make_plan(
        model, checkpoint.weights, format_of=method.format, layout=layout, choice=choice
    )
    described = layout.of(plan.packed(_notes(spec, method)))
    written_config = described.written_in(checkpoint.config)
    files = BlockFiles(job.output, plan, checkpoint.weights)
    shapes = {item.name: item.shape for item in files.pending()}
    require_fit(written_config, shapes, checkpoint.path)
    calibration = _quantize(spec, job, checkpoint, model, method, plan, files, processes)
    if not processes.first:
        return None
    copied = checkpoint.carry_along(job.output)
    if checkpoint.companions is not None:
        warn_of_lost_modules(checkpoint.companions, copied, job.console)
    write_json(job.output / CONFIG, written_config)
    outcomes = files.close()
    if described.caveat is not None:
        job.console.warn(described.caveat)
    written = Written(files.names, copied, sum(o.bytes for o in outcomes), len(shapes))
    return report(spec, job, layout, checkpoint, plan, outcomes, calibration, written)


def _into_gguf(
    spec: QuantizeSpec,
    job: Job,
    checkpoint: Checkpoint,
    model: Model,
    choice: Choice,
    processes: Processes,
) -> QuantizeResult | None:
    """Quantize into one GGUF file."""
    from tfcli.models.layouts.gguf import GGUF
    from tfcli.quantize.gguf import GGUFOutput

    output = GGUFOutput(spec, checkpoint, model)
    left_out = choice.reasons(list(linears_of(model)))
    output.require_types([name for name in linears_of(model) if name not in left_out])
    method = output.method(spec)
    plan = make_plan(model, checkpoint.weights, format_of=method.format, layout=GGUF, choice=choice)
    files = BlockFiles(output.folder(job), plan, checkpoint.weights)
    calibration = _quantize(spec, job, checkpoint, model, method, plan, files, processes)
    if not processes.first:
        return None
    written, outcomes = output.finish(job, plan, files)
    return report(spec, job, GGUF, checkpoint, plan, outcomes, calibration, written)


def _quantize(
    spec: QuantizeSpec,
    job: Job,
    checkpoint: Checkpoint,
    model: Model,
    method: Method,
    plan: Plan,
    files: BlockFiles,
    processes: Processes,
) -> Calibration | None:
    """Quantize and write every unit of a plan that is not done; the calibration text as used."""
    windows, calibration = None, None
    if method.calibrated:
        from tfcli.quantize.text import calibration_text

        windows, calibration = calibration_text(spec, job, checkpoint)
        warn_of_few_tokens(job, plan, calibration)
        windows = processes.share(windows)
    _check(method, plan, checkpoint.weights, files)
    with job.console.progress(f"quantize ({spec.method})", len(plan.linears), "linear") as bar:
        if windows is not None:
            source = checkpoint.weights
            units = _block_by_block(method, spec, plan, model, windows, source, files, processes)
        else:
            units = _weight_by_weight(method, plan, checkpoint.weights)
        for unit, layers, changed in units:
            if processes.first and files.outcomes(unit) is None:
                files.write(unit, _counted(layers, bar), changed)
            else:
                bar.advance(len(unit.linears))
    return calibration


def _require_pairs(spec: QuantizeSpec, model: Model) -> None:
    """Refuse a family of which nothing says where factors can go.

    Raises:
        UsageError: names it.
    """
    blocks = (model.get_submodule(chain.blocks) for chain in model.text_walks)
    if not any(folds_of(block) for block in blocks):
        raise UsageError(
            f"{spec.method} moves factors into what comes before a linear, and in the blocks of "
            f"{model.config.model_type} there is no place for them",
            where="method",
            fix="--method gptq, or --method rtn with --round-inputs, which need none",
        )


def _layout(spec: QuantizeSpec, method: Method, names: Sequence[str]) -> type[Layout]:
    """The layout that was asked for, or the first of the method's that holds what it makes of
    linears of these names.

    Raises:
        UsageError: the method makes nothing that fits into it.
    """
    forms = {method.format(name) for name in names}
    known = {name: get_layout(name) for name in method.layouts}
    fitting = [
        name
        for name, layout in known.items()
        if not any(layout.refusal(form) for form in forms) and (layout.mixes or len(forms) == 1)
    ]
    name: str = spec.layout or (*fitting, *method.layouts)[0]
    if name not in method.layouts:
        raise UsageError(
            f"{name} cannot hold what {spec.method} makes",
            where="layout",
            fix=f"layout: {' or '.join(method.layouts)}",
        )
    return get_layout(name)


def _notes(spec: QuantizeSpec, method: Method) -> dict[str, Any]:
    """What the config says of who quantized, and how."""
    return {"quantizer": [f"tfcli:{tfcli.__version__}"], "method": spec.method, **method.notes()}


def _check(method: Method, plan: Plan, source: Weights, files: BlockFiles) -> None:
    """Refuse numbers that cannot be kept or quantized, before the long work."""
    for unit in plan.units:
        if files.outcomes(unit) is not None:
            continue
        for kept in unit.kept:
            require_finite(kept.stored, source[kept.stored])
        for linear in unit.linears if method.calibrated else ():
            method.check(linear, _weight(source, linear))


def _weight(source: Weights, linear: LinearPlan) -> Tensor:
    """The weight of a linear; of a stack of experts no other's."""
    place = linear.place
    if place.index is None:
        return place.read(source[place.name])
    return replace(place, index=None).read(source.entry(place.name, place.index))


Units = Iterator[tuple[Unit, Iterator[LayerResult], Mapping[str, Tensor]]]
"""The units of a plan, each with its linears as they are quantized, and by full name what the
method changed beside them."""


def _weight_by_weight(method: Method, plan: Plan, source: Weights) -> Units:
    """Quantize one weight after another, straight from the file."""

    def layers(unit: Unit) -> Iterator[LayerResult]:
        for linear in unit.linears:
            weight = _weight(source, linear)
            method.check(linear, weight)
            yield LayerResult.of(linear, weight, method.quantize(linear, weight))

    return ((unit, layers(unit), {}) for unit in plan.units)


def _block_by_block(
    method: Method,
    spec: QuantizeSpec,
    plan: Plan,
    model: Model,
    windows: Tensor,
    source: Weights,
    files: BlockFiles,
    processes: Processes,
) -> Units:
    """Quantize block after block, each on what those before it give."""
    from tfcli.quantize.text import inputs_of
    from tfcli.quantize.walk import Walk
    from tfcli.quantize.weights import StreamedWeights

    device = str(processes.device if processes.count > 1 else pick_device(spec.device))
    weights = StreamedWeights(model.eval(), source, plan, device)
    batches = [inputs_of(model, ids.to(device)) for ids in windows.split(spec.batch_size)]
    rest = (spec.expert_tokens, files.kept, processes)
    walk = Walk(weights, batches, method, files.scratch, files.finished, *rest)
    yield plan.units[0], iter(()), {}
    for unit, done in walk.run(plan.units[1:]):
        yield unit, (_result_of(each) for each in done), walk.changed


def _result_of(done: Done) -> LayerResult:
    return LayerResult.of(
        done.linear, done.weight, done.quantized, tokens=done.tokens, enough=done.enough
    )


def _counted(layers: Iterator[LayerResult], bar: Bar) -> Iterator[LayerResult]:
    for layer in layers:
        bar.advance()
        yield layer


def _default_group_size(job: Job, model: Model, choice: Choice) -> int:
    size, culprit = default_group_size(model, choice)
    if culprit is not None:
        job.console.note(
            f"groups of {size} inputs, as {DEFAULT_GROUP_SIZES[0]} does not divide the "
            f"{model.get_submodule(culprit).in_features:,} of {culprit}"
        )
    return size
