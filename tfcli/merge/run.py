"""`tfcli merge`: stream a base checkpoint through an adapter. A model is built for logits alone."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from tfcli.checkpoints.beside import CONFIG
from tfcli.checkpoints.card import CARD, Origin, card_text
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.containers import open_checkpoint, open_ref
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.io.casting import cast
from tfcli.checkpoints.io.dtypes import USER_NAMES, torch_dtype
from tfcli.checkpoints.io.memory import freed_at_once
from tfcli.checkpoints.same_config import require_same_config
from tfcli.checkpoints.target_dtypes import target_dtype
from tfcli.checkpoints.ties import require_ties
from tfcli.checkpoints.write import write_verified
from tfcli.convert.containers import with_dtype
from tfcli.errors import ModelError, UsageError
from tfcli.files import write_text
from tfcli.merge.adapter import open_adapter
from tfcli.merge.arithmetic import Outcome, apply_edits
from tfcli.merge.beside import beside_merged
from tfcli.merge.plan import Plan, Planned
from tfcli.merge.spec import MergedTensor, MergeResult, MergeSpec
from tfcli.merge.unmerged import adapter_on, divergences
from tfcli.models.layouts.registry import layout_of
from tfcli.recipe.job import Job
from tfcli.units import parse_bytes

if TYPE_CHECKING:
    from tfcli.convert.logits.spec import LogitsAccount


def run(spec: MergeSpec, job: Job) -> MergeResult:
    """Merge `spec.adapter` into `spec.base`.

    Raises:
        UsageError: no such folders, a quantized base without a dense one to merge into, or one
            that cannot be unpacked to be run.
        WorkError: an adapter that does not fit the base, broken files, a full disk, values that
            the type cannot hold, files that changed meanwhile, written tensors that differ from a
            second pass, or logits that differ by more than rounding explains.
    """
    base, dense = _bases(spec)
    adapter = open_adapter(spec.adapter)
    plan = Plan(dense, adapter)
    if plan.untied:
        job.console.warn(
            f"{', '.join(plan.untied)}: the adapter changes one side of a tie; written untied"
        )
    _say_shape(plan, job)
    vocabulary = None if plan.made is None else plan.made.vocabulary
    beside = beside_merged(dense, adapter.folder, vocabulary, job.console)
    unmerged, unknown = _unmerged(spec, base, plan)
    wanted = None if spec.dtype is None else USER_NAMES[spec.dtype]
    outcomes: dict[str, Outcome] = {}
    pending = []
    for item in plan.tensors.values():
        code = target_dtype(plan.config, item.name, item.dtype, wanted)
        make = partial(_make, plan, item, code, outcomes)
        pending.append(PendingTensor(item.name, code, item.shape, make))
    apart: dict[str, float] = {}
    written = write_verified(
        job.output,
        pending,
        with_dtype(plan.config, wanted),
        beside.checkpoint,
        job.console,
        max_shard_bytes=parse_bytes(spec.shard_size),
    )
    _warn_of_no_change(plan, outcomes, job)
    with freed_at_once():
        if spec.merge_base is not None and unmerged is not None:
            apart = divergences(unmerged, open_checkpoint(job.output), job.console)
            furthest = max(apart, key=apart.__getitem__)
            job.console.warn(
                "the result is not the adapter on the quantized base: weights differ by up to "
                f"{apart[furthest]:.3g} of a tensor's largest value ({furthest})"
            )
    if unknown is not None:
        job.console.warn(
            f"how far the result is from the adapter on the quantized base is not known: {unknown}"
        )
    logits = _logits(spec, job, unmerged)
    dtypes = {item.name: item.dtype for item in pending}
    tensors = [
        _account(item, dtypes[item.name], outcomes.get(item.name), apart.get(item.name))
        for item in plan.tensors.values()
    ]
    actions = [tensor.action for tensor in tensors]
    result = MergeResult(
        method=adapter.method,
        wrote=adapter.wrote,
        adapter_tensors=len(adapter.source),
        merged=actions.count("merged"),
        replaced=actions.count("replaced") + actions.count("added"),
        copied=actions.count("copied"),
        vocabulary=vocabulary,
        task=None if plan.made is None else plan.made.task,
        left_out=plan.left_out,
        untied=plan.untied,
        merge_base=spec.merge_base,
        max_deviation=max((outcome.deviation for outcome in outcomes.values()), default=0.0),
        max_divergence=max(apart.values(), default=None),
        divergence_unknown=unknown,
        logits=logits,
        files=written.files,
        bytes=written.nbytes,
        verified=written.verified,
        companions=written.companions,
        tokenizer_of=beside.tokenizer_of,
        tensors=tensors,
    )
    write_text(job.output / CARD, _card(spec, job, result))
    return result


def _say_shape(plan: Plan, job: Job) -> None:
    """Say what the adapter makes another model of than the base is."""
    if plan.made is None:
        return
    if plan.made.vocabulary is not None:
        job.console.note(f"the vocabulary has {plan.made.vocabulary:,} tokens, as the adapter's")
    if plan.made.task is not None:
        gone = f"; {', '.join(plan.left_out)} left out" if plan.left_out else ""
        job.console.note(f"the result is for {plan.made.task}, as the adapter's head is{gone}")


def _warn_of_no_change(plan: Plan, outcomes: dict[str, Outcome], job: Job) -> None:
    changed = any(outcome.moved for outcome in outcomes.values())
    if not changed and all(item.whole is None for item in plan.tensors.values()):
        job.console.warn(
            "the adapter changes nothing: all of its changes are 0, as before any training"
        )


def _open(ref: str) -> Checkpoint:
    checkpoint = open_ref(ref)
    require_ties(checkpoint)
    return checkpoint


def _bases(spec: MergeSpec) -> tuple[Checkpoint, Checkpoint]:
    """What the adapter was trained on, and the dense checkpoint that it is merged into."""
    base = _open(spec.base)
    if spec.merge_base is None:
        if base.is_quantized:
            raise UsageError(
                "an adapter cannot be merged into packed weights",
                where=f"{base.path / CONFIG}, quantization_config",
                fix="name the dense checkpoint with --merge-base; tfcli dequantize makes one",
            )
        return base, base
    if not base.is_quantized:
        raise UsageError(
            "the base is dense already", where="merge_base", fix="leave merge_base out"
        )
    dense = _open(spec.merge_base)
    if dense.is_quantized:
        raise UsageError(
            "packed weights again: an adapter is merged into dense ones", where="merge_base"
        )
    require_same_config(base, dense, free=frozenset({"quantization_config"}))
    return base, dense


def _unmerged(
    spec: MergeSpec, base: Checkpoint, plan: Plan
) -> tuple[Checkpoint | None, str | None]:
    """What the result is compared with, or why that cannot be made."""
    if spec.merge_base is None and spec.verify == "tensors":
        return None, None
    try:
        if base.is_quantized:
            layout_of(base.config["quantization_config"])
    except ModelError as error:
        if spec.verify == "logits":
            raise UsageError(
                f"the base cannot be unpacked, to be run: {error.what}",
                where=str(base.path / CONFIG),
                fix="leave verify: logits out",
            ) from error
        return None, error.what
    return adapter_on(base, plan), None


def _logits(spec: MergeSpec, job: Job, unmerged: Checkpoint | None) -> LogitsAccount | None:
    if spec.verify != "logits" or unmerged is None:
        return None
    from tfcli.convert.logits.compare import compare_logits, measure_logits

    # Other weights than the adapter was trained on answer otherwise, which is no error.
    compare = compare_logits if spec.merge_base is None else measure_logits
    return compare(unmerged, open_checkpoint(job.output))


def _make(plan: Plan, item: Planned, code: str, outcomes: dict[str, Outcome]) -> Tensor:
    """The values of one tensor of the output; what the merge did to it is noted."""
    dtype = torch_dtype(code)
    if item.whole is not None:
        values = plan.adapter.source[item.whole]
    else:
        assert item.origin is not None, "the plan refuses a tensor without values"
        values = plan.base.weights[item.origin]
    if item.edits:
        values, outcomes[item.name] = apply_edits(values, item.edits, dtype, item.name)
        return values
    return cast(values, dtype, item.name)


def _account(
    item: Planned, dtype: str, outcome: Outcome | None, divergence: float | None
) -> MergedTensor:
    return MergedTensor(
        name=item.name,
        action=item.action,
        dtype=dtype,
        change=None if outcome is None else outcome.change,
        deviation=None if outcome is None else outcome.deviation,
        divergence=divergence,
    )


def _card(spec: MergeSpec, job: Job, result: MergeResult) -> str:
    origins = [Origin("base", spec.base), Origin("adapter", spec.adapter, result.method)]
    facts = {
        "tensors": f"{result.merged} merged, {result.replaced} replaced, {result.copied} copied",
        "untied": ", ".join(f"`{name}`" for name in result.untied),
        "rounding": f"at most {result.max_deviation:.3g} of a tensor's largest value",
        "verified": f"{result.verified} tensors read back and equal to a second pass, bit for bit",
    }
    if spec.merge_base is not None:
        origins.append(Origin("merged into", spec.merge_base))
        far = (
            f"weights differ by up to {result.max_divergence or 0:.3g} of a tensor's largest value"
        )
        unknown = f"not known: {result.divergence_unknown}"
        facts["from the adapter on the quantized base"] = (
            far if result.divergence_unknown is None else unknown
        )
    if result.logits is not None:
        facts["logits beside the adapter on its base"] = (
            f"differ by {result.logits.relative_difference:.2g} of their standard deviation, "
            f"at most {result.logits.largest_difference:.2g}"
        )
    return card_text(f"merged with {origins[1].name}", origins, job.inputs, facts)
