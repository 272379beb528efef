"""`tfcli merge`: stream a base checkpoint through an adapter. The model is never built."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from tfcli.checkpoints.checkpoint import (
    Checkpoint,
    open_folder,
    require_same_config,
    write_verified,
)
from tfcli.checkpoints.dtypes import torch_dtype
from tfcli.checkpoints.folder import CONFIG
from tfcli.checkpoints.pieces import rounded
from tfcli.checkpoints.safetensors import PendingTensor
from tfcli.errors import UsageError
from tfcli.merge.adapter import open_adapter
from tfcli.merge.arithmetic import Outcome, apply_edits
from tfcli.merge.plan import Plan, Planned
from tfcli.merge.spec import MergedTensor, MergeResult, MergeSpec
from tfcli.recipe.job import Job


def run(spec: MergeSpec, job: Job) -> MergeResult:
    """Merge `spec.adapter` into `spec.base`.

    Raises:
        UsageError: no such folders, or a quantized base without a dense one to merge into.
        WorkError: an adapter that does not fit the base, broken files, a full disk, values that
            the type cannot hold, or written tensors that differ from a second pass.
    """
    base = _dense_base(spec, job)
    adapter = open_adapter(spec.adapter)
    plan = Plan(base, adapter)
    if plan.untied:
        job.console.warn(
            f"{', '.join(plan.untied)}: the adapter changes one side of a tie; written untied"
        )
    outcomes: dict[str, Outcome] = {}
    pending = []
    for item in plan.tensors.values():
        info = base.source.info(item.origin)
        make = partial(_make, plan, item, info.dtype, outcomes)
        pending.append(PendingTensor(item.name, info.dtype, info.shape, make))
    written = write_verified(job.output, pending, plan.config, base.folder, job.console)

    tensors = [_account(plan, item, outcomes.get(item.name)) for item in plan.tensors.values()]
    actions = [tensor.action for tensor in tensors]
    return MergeResult(
        method=adapter.method,
        adapter_tensors=len(adapter.source),
        merged=actions.count("merged"),
        replaced=actions.count("replaced"),
        copied=actions.count("copied"),
        untied=plan.untied,
        merge_base=spec.merge_base,
        max_deviation=max((outcome.deviation for outcome in outcomes.values()), default=0.0),
        files=written.files,
        bytes=written.nbytes,
        verified=written.verified,
        companions=written.companions,
        tensors=tensors,
    )


def _dense_base(spec: MergeSpec, job: Job) -> Checkpoint:
    base = open_folder(spec.base, where="base")
    if spec.merge_base is None:
        if base.is_quantized:
            raise UsageError(
                "an adapter cannot be merged into packed weights",
                where=f"{base.folder / CONFIG}, quantization_config",
                fix="name the dense checkpoint with --merge-base; tfcli dequantize makes one",
            )
        return base
    if not base.is_quantized:
        raise UsageError(
            "the base is dense already", where="merge_base", fix="leave merge_base out"
        )
    dense = open_folder(spec.merge_base, where="merge_base")
    if dense.is_quantized:
        raise UsageError(
            "packed weights again: an adapter is merged into dense ones", where="merge_base"
        )
    require_same_config(base, dense, free=frozenset({"quantization_config"}))
    job.console.warn(
        "the adapter was trained on quantized weights and is merged into dense ones; how far the "
        "result is from the adapter on the quantized ones is not computed: compare them with eval"
    )
    return dense


def _make(plan: Plan, item: Planned, code: str, outcomes: dict[str, Outcome]) -> Tensor:
    """The values of one tensor of the output; what the merge did to it is noted."""
    dtype = torch_dtype(code)
    values = plan.base.source[item.origin]
    if item.whole is not None:
        values = plan.adapter.source[item.whole]
    if item.edits:
        values, outcomes[item.name] = apply_edits(values, item.edits, dtype, item.name)
        return values
    return rounded(values, dtype, item.name)


def _account(plan: Plan, item: Planned, outcome: Outcome | None) -> MergedTensor:
    return MergedTensor(
        name=item.name,
        action=item.action,
        dtype=plan.base.source.info(item.origin).dtype,
        change=None if outcome is None else outcome.change,
        deviation=None if outcome is None else outcome.deviation,
    )
