"""`tfcli quantize`: from a checkpoint to a quantized one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.fit import require_fit
from tfcli.checkpoints.folder import open_base
from tfcli.errors import UsageError
from tfcli.models.loading import build
from tfcli.models.model import Model
from tfcli.process_group import Processes, join
from tfcli.quantize.methods.registry import get_method
from tfcli.quantize.output import Output
from tfcli.quantize.report import foresee, report, warn_of_few_tokens
from tfcli.quantize.spec import QuantizeResult, QuantizeSpec
from tfcli.quantize.unseen import unseen_linears
from tfcli.quantize.work import quantize, require_sound
from tfcli.recipe.job import Job
from tfcli.units import format_bytes

if TYPE_CHECKING:
    from tfcli.quantize.text import CalibrationText


def run(spec: QuantizeSpec, job: Job) -> QuantizeResult:
    """Quantize a checkpoint; with `dry_run` only say what would be done.

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
    checkpoint = open_base(spec.model)
    config = checkpoint.model_config
    if config.quantization is not None:
        raise UsageError(
            "the checkpoint is quantized already",
            where=f"{checkpoint.path}: quantization_config",
            fix="quantize the checkpoint that it was made from",
        )
    require_fit(checkpoint.config, {t.name: t.shape for t in checkpoint}, checkpoint.path)
    model = build(config, at_most=checkpoint.most_values)
    calibrated = get_method(spec.method).calibrated
    unseen = unseen_linears(model, spec.method, job) if calibrated else {}

    def make(spec: QuantizeSpec) -> Output:
        return _output(spec, checkpoint, model, unseen)

    if spec.has_budget:
        return _within_budget(spec, job, checkpoint, model, make)
    output = make(spec)
    _tell(output, job)
    if spec.dry_run:
        return foresee(output)
    files = output.files(job)
    text = _text(output, job) if calibrated else None
    require_sound(output, files)
    quantize(output, text, files, job, processes)
    if not processes.first:
        return None
    written, outcomes = output.finish(job, files)
    return report(output, job, outcomes, None if text is None else text.account, written)


def _within_budget(
    spec: QuantizeSpec,
    job: Job,
    checkpoint: Checkpoint,
    model: Model,
    make: Callable[[QuantizeSpec], Output],
) -> QuantizeResult:
    """Quantize with widths that are chosen; see `tfcli.quantize.budget`."""
    from tfcli.quantize.budget.held import held_of
    from tfcli.quantize.budget.passage import Passage
    from tfcli.quantize.budget.run import Limit, spend, start_of
    from tfcli.quantize.predicted import require_predictions

    require_predictions(model, spec.budget_key)
    output = make(start_of(spec, checkpoint))
    _tell(output, job)
    limit = Limit.of(output)
    if spec.dry_run:
        job.console.note(
            f"the linears will take {format_bytes(limit.nbytes)} at most; which width each gets is "
            "seen in the work"
        )
        return foresee(output)
    text = _text(output, job, hold_out=True)
    held = held_of(output, text)
    require_sound(output, output.files(job))
    output, account = spend(make, output, limit, text, held, job)
    files = output.files(job)
    passage = Passage(
        model,
        held,
        files.scratch,
        head=lambda: files.finished(output.plan.units[-1]) or {} if output.plan.head else {},
    )
    walk = quantize(output, text, files, job, visitor=passage)
    assert walk is not None, "only a method with a walk has a budget"
    (measured,) = passage.divergences(walk)
    written, outcomes = output.finish(job, files)
    return report(output, job, outcomes, text.account, written, account(measured))


def _output(
    spec: QuantizeSpec, checkpoint: Checkpoint, model: Model, unseen: Mapping[str, str]
) -> Output:
    if spec.layout == "gguf":
        from tfcli.quantize.gguf import GGUFOutput

        return GGUFOutput(spec, checkpoint, model, unseen)
    from tfcli.quantize.folder import FolderOutput

    return FolderOutput(spec, checkpoint, model, unseen)


def _tell(output: Output, job: Job) -> None:
    for note in output.notes:
        job.console.note(note)


def _text(output: Output, job: Job, *, hold_out: bool = False) -> CalibrationText:
    """The calibration text, looked at."""
    from tfcli.quantize.text import calibration_text

    masked = hold_out and output.model.task == "masked-lm"
    text = calibration_text(output.spec, job, output.checkpoint, hold_out=hold_out, masked=masked)
    warn_of_few_tokens(job, output.plan, text.account)
    return text
