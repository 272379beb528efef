"""`tfcli quantize`: from a checkpoint folder to a quantized one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from statistics import fmean
from typing import Any

from torch import Tensor

import tfcli
from tfcli.checkpoints.card import CARD, Origin, card_text
from tfcli.checkpoints.checkpoint import Checkpoint, Weights
from tfcli.checkpoints.fit import require_fit
from tfcli.checkpoints.folder import open_model
from tfcli.checkpoints.write import Written, write_verified
from tfcli.console import Bar
from tfcli.devices import pick_device
from tfcli.errors import UsageError
from tfcli.files import write_text
from tfcli.models.layouts.registry import get_layout
from tfcli.models.loading import build, load_weights
from tfcli.models.model import Model
from tfcli.quantize.calibrate import calibrate, require_chain, token_windows
from tfcli.quantize.finite import require_finite
from tfcli.quantize.methods.method import Method
from tfcli.quantize.methods.registry import get_method
from tfcli.quantize.plan import DEFAULT_GROUP_SIZES, LinearPlan, Plan, default_group_size, make_plan
from tfcli.quantize.spec import Calibration, QuantizeResult, QuantizeSpec, TensorOutcome
from tfcli.quantize.write import LayerResult, QuantizedTensors
from tfcli.recipe.job import Job
from tfcli.units import format_bytes


def run(spec: QuantizeSpec, job: Job) -> QuantizeResult:
    """Quantize a checkpoint.

    Raises:
        UsageError: the model, the group size or the calibration text do not fit together.
        WorkError: a broken file, or numbers that are not finite.
    """
    checkpoint = open_model(spec.model)
    config = checkpoint.model_config
    if config.quantization is not None:
        raise UsageError(
            "the checkpoint is quantized already",
            where=f"{checkpoint.path}: quantization_config",
            fix="quantize the checkpoint that it was made from",
        )
    require_fit(checkpoint.config, {t.name: t.shape for t in checkpoint}, checkpoint.path)
    source = checkpoint.weights
    model = build(config, at_most=checkpoint.most_values)
    if get_method(spec.method).calibrated:
        require_chain(model)
    group_size = spec.group_size or _default_group_size(spec, job, model)
    method = get_method(spec.method)(spec, group_size)
    layout = get_layout(method.layouts[0])
    plan = make_plan(model, source, format_of=method.format, layout=layout, skip=spec.skip)
    for stored in plan.kept:  # before the long work
        require_finite(stored, source[stored])
    calibration = None
    with job.console.progress(f"quantize ({spec.method})", len(plan.linears), "linear") as bar:
        if not method.calibrated:
            layers = _weight_by_weight(method, plan, source, bar)
        else:
            windows, calibration = _calibration(spec, job, checkpoint)
            _warn_of_few_tokens(job, plan, calibration)
            load_weights(model, source)
            layers = _block_by_block(method, spec, plan, model, windows, bar)
        tensors = QuantizedTensors(plan, source, layers)
        settings = layout.of(plan.packed(_notes(spec, method))).to_config()
        written = write_verified(
            job.output,
            tensors.pending(),
            {**checkpoint.config, "quantization_config": settings},
            checkpoint,
            job.console,
            repeatable=False,
        )
    _warn_of_damping(spec, job, tensors.outcomes)
    _warn_of_coarse_scales(job, tensors.outcomes)
    if not plan.skips_alike:
        job.console.warn(
            "skip names linears of some blocks and not of others: transformers cannot say so in a "
            "config and will not load this checkpoint; GPTQModel and vLLM can"
        )
    result = _result(spec, group_size, checkpoint, plan, tensors.outcomes, calibration, written)
    write_text(job.output / CARD, _card(spec, job, result, layout.name))
    return result


def _notes(spec: QuantizeSpec, method: Method) -> dict[str, Any]:
    """What the config says of who quantized, and how."""
    return {"quantizer": [f"tfcli:{tfcli.__version__}"], "method": spec.method, **method.notes()}


def _weight(source: Weights, linear: LinearPlan) -> Tensor:
    """The weight of a linear; of a stack of experts no other's."""
    place = linear.place
    if place.index is None:
        return place.read(source[place.name])
    return replace(place, index=None).read(source.entry(place.name, place.index))


def _weight_by_weight(
    method: Method, plan: Plan, source: Weights, bar: Bar
) -> Iterator[LayerResult]:
    """Quantize one weight after another, straight from the file."""
    for linear in plan.linears:
        weight = _weight(source, linear)
        method.check(linear, weight)
        bar.advance()
        yield LayerResult.of(linear, weight, method.quantize(linear, weight))


def _block_by_block(
    method: Method, spec: QuantizeSpec, plan: Plan, model: Model, windows: Tensor, bar: Bar
) -> Iterator[LayerResult]:
    """Quantize block after block; uses up the model."""
    for linear in plan.linears:  # before the long work
        method.check(linear, model.get_submodule(linear.name).get_parameter("weight"))
    walk = calibrate(
        model.eval(),
        model.calibration,
        windows.split(spec.batch_size),
        method,
        wanted={linear.name: linear for linear in plan.linears},
        device=str(pick_device(spec.device)),
    )
    for done in walk:
        for linear, weight, quantized in done:
            bar.advance()
            yield LayerResult.of(linear, weight, quantized)


def _calibration(
    spec: QuantizeSpec, job: Job, checkpoint: Checkpoint
) -> tuple[Tensor, Calibration]:
    """Token windows, [windows, sequence_length], and what to report of them."""
    positions = checkpoint.model_config.text.longest_input
    length = spec.sequence_length or min(512, checkpoint.model_config.text.trained_length)
    if length > positions:
        raise UsageError(
            f"{length} is more than the model's {positions} positions",
            where="sequence_length",
            fix=f"use at most {positions}",
        )
    # Rounding needs neither: what it loads stays small.
    from tfcli.data.documents import python_docs, read_documents
    from tfcli.tokenizers.load import load_tokenizer

    if spec.data is None:
        job.console.note("no calibration text is given: Python's language reference is used")
        documents = [document.text for document in python_docs()]
    else:
        documents = read_documents(spec.data, console=job.console)
        job.has_read(spec.data)
    tokenizer = load_tokenizer(checkpoint.beside)
    encoded = [tokenizer.encode(document, add_special_tokens=True) for document in documents]
    windows = token_windows(
        encoded, length=length, samples=spec.samples, seed=spec.seed, prefix=tokenizer.prefix
    )
    count = len(windows.ids)
    if count < spec.samples:
        job.console.note(
            f"the calibration text has {windows.available} windows of {length} "
            f"tokens, {spec.samples} were asked for; all are used"
        )
    first = encoded[0] if encoded else []
    job.console.detail(f"calibration begins with the ids {first[:8]}")
    return windows.ids, Calibration(
        documents=len(documents),
        windows=count,
        windows_available=windows.available,
        sequence_length=length,
        tokens=windows.ids.numel(),
        bos_per_document=leading(first, tokenizer.bos_id),
        prefix_per_window=len(tokenizer.prefix),
        first_ids=first[:8],
    )


def leading(ids: list[int], token: int | None) -> int:
    """How many times `ids` begins with `token`."""
    count = 0
    while token is not None and count < len(ids) and ids[count] == token:
        count += 1
    return count


def _default_group_size(spec: QuantizeSpec, job: Job, model: Model) -> int:
    size, culprit = default_group_size(model, spec.skip)
    if culprit is not None:
        job.console.note(
            f"groups of {size} inputs, as {DEFAULT_GROUP_SIZES[0]} does not divide the "
            f"{model.get_submodule(culprit).in_features:,} of {culprit}"
        )
    return size


def _warn_of_few_tokens(job: Job, plan: Plan, calibration: Calibration) -> None:
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


def _warn_of_damping(spec: QuantizeSpec, job: Job, outcomes: list[TensorOutcome]) -> None:
    raised = [o for o in outcomes if o.damping is not None and o.damping > spec.damping]
    if raised:
        most = max(raised, key=lambda outcome: outcome.damping or 0)
        job.console.warn(
            f"{len(raised)} linears needed more damping than {spec.damping}: "
            f"up to {most.damping:g} for {most.name}; more calibration text may help"
        )


def _result(
    spec: QuantizeSpec,
    group_size: int,
    checkpoint: Checkpoint,
    plan: Plan,
    outcomes: list[TensorOutcome],
    calibration: Calibration | None,
    written: Written,
) -> QuantizeResult:
    quantized = [outcome for outcome in outcomes if outcome.outcome == "quantized"]
    weights = sum(linear.in_features * linear.out_features for linear in plan.linears)
    output_errors = [o.output_error for o in quantized if o.output_error is not None]
    assert {outcome.name for outcome in outcomes} == set(checkpoint.tensors), (
        "a tensor is not accounted for"
    )
    return QuantizeResult(
        model=spec.model,
        output=spec.output,
        method=spec.method,
        bits=spec.bits,
        group_size=group_size,
        symmetric=spec.symmetric,
        quantized=len(quantized),
        kept=sum(outcome.outcome == "kept" for outcome in outcomes),
        dropped=sum(outcome.outcome == "dropped" for outcome in outcomes),
        bits_per_weight=8 * sum(outcome.bytes for outcome in quantized) / weights,
        bytes_before=checkpoint.nbytes,
        bytes_after=sum(outcome.bytes for outcome in outcomes),
        mean_weight_error=fmean(o.weight_error for o in quantized if o.weight_error is not None),
        mean_output_error=fmean(output_errors) if output_errors else None,
        calibration=calibration,
        files=written.files,
        companions=written.companions,
        verified=written.verified,
        tensors=outcomes,
    )


def _card(spec: QuantizeSpec, job: Job, result: QuantizeResult, layout: str) -> str:
    groups = "one group a row" if result.group_size == -1 else f"groups of {result.group_size}"
    error = result.mean_output_error
    seen = result.calibration
    facts = {
        "method": f"{spec.method}, {spec.bits} bits, {groups}, "
        + ("symmetric" if spec.symmetric else "asymmetric"),
        "layout": layout,
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
