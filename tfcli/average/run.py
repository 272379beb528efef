"""`tfcli average`: stream checkpoints side by side into their mean."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from tfcli.average.check import check_configs, check_tensors
from tfcli.average.combine import arc, mean
from tfcli.average.names import named_alike
from tfcli.average.spec import AveragedTensor, AverageResult, AverageSpec
from tfcli.checkpoints.card import CARD, Origin, card_text
from tfcli.checkpoints.containers import open_ref
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.io.dtypes import FLOATS, USER_NAMES, torch_dtype
from tfcli.checkpoints.target_dtypes import target_dtype
from tfcli.checkpoints.write import write_verified
from tfcli.convert.containers import with_dtype
from tfcli.files import write_text
from tfcli.recipe.job import Job
from tfcli.units import parse_bytes


def run(spec: AverageSpec, job: Job) -> AverageResult:
    """Average `spec.sources` into the job's folder.

    Raises:
        UsageError: a source is no folder, or quantized.
        WorkError: sources that do not belong together, broken files, a value that the type cannot
            hold, a full disk, files that changed meanwhile, or written tensors that differ from a
            second pass.
    """
    opened = [open_ref(ref) for ref in spec.sources]
    check_configs(opened)
    sources = named_alike(opened)
    check_tensors(sources)
    first = sources[0]
    wanted = None if spec.dtype is None else USER_NAMES[spec.dtype]
    angles: dict[str, float] = {}

    def make(name: str, code: str) -> Tensor:
        """One tensor of the result; with slerp its angle is noted."""
        if first.tensors[name].dtype not in FLOATS:
            return first.weights[name]
        tensors = [source.tensors[name].values for source in sources]
        shares: Sequence[float] = spec.shares
        if spec.method == "slerp":
            shares, angles[name] = arc(tensors[0], tensors[1], spec.shares[1])
        return mean(tensors, shares, torch_dtype(code), name)

    pending = []
    for name in first.distinct:
        info = first.tensors[name]
        cast_to = wanted if info.dtype in FLOATS else None
        code = target_dtype(first.config, name, info.dtype, cast_to)
        pending.append(PendingTensor(name, code, info.shape, partial(make, name, code)))
    written = write_verified(
        job.output,
        pending,
        with_dtype(first.config, wanted),
        first,
        job.console,
        max_shard_bytes=parse_bytes(spec.shard_size),
    )
    tensors = [
        AveragedTensor(
            name=item.name,
            action="averaged" if item.dtype in FLOATS else "copied",
            dtype=item.dtype,
            angle=angles.get(item.name),
        )
        for item in pending
    ]
    actions = [tensor.action for tensor in tensors]
    result = AverageResult(
        method=spec.method,
        shares=spec.shares,
        files=written.files,
        bytes=written.nbytes,
        averaged=actions.count("averaged"),
        copied=actions.count("copied"),
        tied=sorted(opened[0].tied),
        verified=written.verified,
        companions=written.companions,
        tensors=tensors,
    )
    write_text(job.output / CARD, _card(spec, job, result))
    return result


def _card(spec: AverageSpec, job: Job, result: AverageResult) -> str:
    origins = [
        Origin(f"source {number}", ref, f"counts {share:.4g}")
        for number, (ref, share) in enumerate(zip(spec.sources, spec.shares, strict=True), 1)
    ]
    facts = {
        "method": spec.method,
        "tensors": f"{result.averaged} averaged, {result.copied} copied",
        "left out": ", ".join(f"`{name}`, tied" for name in result.tied),
        "verified": f"{result.verified} tensors read back and equal to a second pass, bit for bit",
    }
    return card_text("averaged with others", origins, job.inputs, facts)
