"""What is said of a quantization: warnings, the result, and the model card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from statistics import fmean
from typing import Any

from tfcli.checkpoints.card import CARD, Origin, card_text
from tfcli.checkpoints.write import Written
from tfcli.files import write_text
from tfcli.models.layouts.values import Format
from tfcli.quantize.budget.spec import Budget
from tfcli.quantize.memory import peak_bytes, tensor_bytes
from tfcli.quantize.output import Output
from tfcli.quantize.plan import Plan
from tfcli.quantize.result_spec import Calibration, QuantizeResult, TensorOutcome
from tfcli.quantize.spec import QuantizeSpec
from tfcli.recipe.job import Job
from tfcli.units import format_bytes


def warn_of_few_tokens(job: Job, plan: Plan, calibration: Calibration) -> None:
    widest = max(plan.linears, key=lambda linear: linear.in_features)
    if calibration.tokens < widest.in_features:
        job.console.warn(
            f"the calibration has {calibration.tokens:,} tokens, fewer than the "
            f"{widest.in_features:,} inputs of {widest.name}: most directions of its inputs are "
            "never seen; give more text or samples"
        )


def _warn_of_coarse_scales(job: Job, outcomes: list[TensorOutcome]) -> None:
    coarse = [outcome for outcome in outcomes if outcome.coarse_scales]
    if coarse:
        most = max(coarse, key=lambda outcome: outcome.coarse_scales or 0)
        job.console.warn(
            f"{sum(outcome.coarse_scales or 0 for outcome in coarse):,} groups in {len(coarse)} "
            f"tensors have weights too small for the scales that fp16 holds, and lose most of what "
            f"they say: {most.coarse_scales:,} of them in {most.name}"
        )


def _warn_of_idle_experts(spec: QuantizeSpec, job: Job, outcomes: list[TensorOutcome]) -> None:
    idle = [outcome for outcome in outcomes if outcome.fallback is not None]
    if idle:
        job.console.warn(
            f"{len(idle)} linears of experts got fewer than {spec.expert_tokens} calibration "
            f"tokens and are rounded to nearest, such as {idle[0].name}: give more text or samples"
        )


def _warn_of_damping(spec: QuantizeSpec, job: Job, outcomes: list[TensorOutcome]) -> None:
    raised = [o for o in outcomes if o.damping is not None and o.damping > spec.damping]
    if raised:
        most = max(raised, key=lambda outcome: outcome.damping or 0)
        job.console.warn(
            f"{len(raised)} linears needed more damping than {spec.damping}: "
            f"up to {most.damping:g} for {most.name}; more calibration text may help"
        )


def foresee(output: Output) -> QuantizeResult:
    """What a dry run reports."""
    return _result(
        output,
        output.foreseen(),
        dry_run=True,
        peak_bytes=peak_bytes(output),
        tensor_bytes=tensor_bytes(output),
    )


def report(
    output: Output,
    job: Job,
    outcomes: list[TensorOutcome],
    calibration: Calibration | None,
    written: Written,
    budget: Budget | None = None,
) -> QuantizeResult:
    """What is reported, and the card, which says it too."""
    _warn_of_damping(output.spec, job, outcomes)
    _warn_of_coarse_scales(job, outcomes)
    _warn_of_idle_experts(output.spec, job, outcomes)
    result = _result(
        output,
        outcomes,
        calibration=calibration,
        files=written.files,
        companions=written.companions,
        verified=written.verified,
        budget=budget,
    )
    write_text(job.output / CARD, _card(output, job, result))
    return result


def _result(output: Output, outcomes: list[TensorOutcome], **others: Any) -> QuantizeResult:
    """What is said of a quantization, done or not."""
    spec, checkpoint, linears = output.spec, output.checkpoint, output.plan.linears
    outcomes = outcomes + [
        TensorOutcome(name=stored, outcome="dropped", reason=reason, bytes=0)
        for stored, reason in output.plan.dropped.items()
    ]
    own = {linear.reported for linear in linears if linear.tied}
    assert {outcome.name for outcome in outcomes} == set(checkpoint.tensors) | own, (
        "a tensor is not accounted for"
    )
    quantized = [outcome for outcome in outcomes if outcome.outcome == "quantized"]
    usual = _usual(output)
    return QuantizeResult(
        model=spec.model,
        output=spec.output,
        method=spec.method,
        layout=output.layout.name,
        bits=usual.bits,
        group_size=usual.group_size,
        symmetric=getattr(usual, "symmetric", None),
        quantized=len(quantized),
        kept=sum(outcome.outcome == "kept" for outcome in outcomes),
        dropped=sum(outcome.outcome == "dropped" for outcome in outcomes),
        bits_per_weight=8 * sum(o.bytes for o in quantized) / sum(l.weights for l in linears),
        bytes_before=checkpoint.nbytes,
        bytes_after=sum(outcome.bytes for outcome in outcomes),
        mean_weight_error=_mean(o.weight_error for o in quantized),
        mean_output_error=_mean(o.output_error for o in quantized),
        tensors=outcomes,
        **others,
    )


def _mean(errors: Iterable[float | None]) -> float | None:
    known = [error for error in errors if error is not None]
    return fmean(known) if known else None


def _usual(output: Output) -> Format:
    """What most linears become."""
    return Counter(linear.packing.format for linear in output.plan.linears).most_common(1)[0][0]


def _card(output: Output, job: Job, result: QuantizeResult) -> str:
    spec = output.spec
    error = result.mean_output_error
    seen = result.calibration
    facts = {
        "method": f"{spec.method}, {_usual(output)}",
        "layout": result.layout,
        "tensors": f"{result.quantized} quantized, {result.kept} kept, {result.dropped} dropped",
        "bits a weight": f"{result.bits_per_weight:.2f} with scales, zeros and group indices",
        "size": f"{format_bytes(result.bytes_before)} -> {format_bytes(result.bytes_after)}",
        "mean output error": "" if error is None else f"{error:.3g}",
        "calibration": ""
        if seen is None
        else f"{seen.tokens:,} tokens in {seen.windows} windows of {seen.sequence_length}",
        "verified": f"{result.verified} tensors read back and equal to what was made, bit for bit",
    }
    return card_text("quantized", [Origin("source", spec.model)], job.inputs, facts)
