"""`tfcli dequantize`: stream packed linears into dense tensors. The model is never built."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from tfcli.checkpoints.beside import CONFIG
from tfcli.checkpoints.card import CARD, Origin, card_text
from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.containers import open_ref
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.hf.source import SETTINGS_BESIDE
from tfcli.checkpoints.io.casting import cast
from tfcli.checkpoints.io.dtypes import TORCH_NAMES, USER_NAMES, torch_dtype
from tfcli.checkpoints.packed.unpack import Unpacked, find_unpacked, method_of, with_unpacked
from tfcli.checkpoints.target_dtypes import target_dtype
from tfcli.checkpoints.ties import require_ties
from tfcli.checkpoints.write import write_verified
from tfcli.convert.containers import with_dtype
from tfcli.dequantize.spec import DequantizedTensor, DequantizeResult, DequantizeSpec
from tfcli.errors import UsageError
from tfcli.files import write_text
from tfcli.recipe.job import Job
from tfcli.units import format_bytes, parse_bytes


def run(spec: DequantizeSpec, job: Job) -> DequantizeResult:
    """Unpack `spec.source` into the job's folder.

    Raises:
        UsageError: no such folder, or a dense checkpoint.
        WorkError: a layout that is not read, packed tensors that do not fit the config, a value
            beyond the type, a full disk, files that changed meanwhile, or written tensors that
            differ from a second pass.
    """
    checkpoint = open_ref(spec.source, Reading(packed=True))
    require_ties(checkpoint)
    if not method_of(checkpoint):
        raise UsageError(
            "the checkpoint is dense already",
            where=str(checkpoint.path / CONFIG),
            fix="tfcli convert changes its type",
        )
    found = find_unpacked(checkpoint, lambda name: True)
    dense = with_unpacked(checkpoint, found)
    wanted = None if spec.dtype is None else USER_NAMES[spec.dtype]
    named = wanted or _named(dense.config)
    pending = [
        _pending(dense, dense.tensors[name], named if name in found.tensors else wanted)
        for name in dense.distinct
    ]
    written = write_verified(
        job.output,
        pending,
        with_dtype(dense.config, wanted),
        checkpoint,
        job.console,
        max_shard_bytes=parse_bytes(spec.shard_size),
    )
    for name in SETTINGS_BESIDE:
        (job.output / name).unlink(missing_ok=True)

    tensors = [_account(dense, item, found) for item in pending]
    actions = [tensor.action for tensor in tensors]
    result = DequantizeResult(
        dequantized=actions.count("dequantized"),
        converted=actions.count("converted"),
        copied=actions.count("copied"),
        source_bytes=checkpoint.nbytes,
        bytes=written.nbytes,
        files=written.files,
        verified=written.verified,
        companions=[name for name in written.companions if name not in SETTINGS_BESIDE],
        tensors=tensors,
    )
    method = method_of(checkpoint)
    bits = sorted({width for widths in found.bits.values() for width in widths})
    write_text(job.output / CARD, _card(spec, job, result, method, bits))
    return result


def _card(
    spec: DequantizeSpec, job: Job, result: DequantizeResult, method: str, bits: list[int]
) -> str:
    widths = " and ".join(map(str, bits))
    facts = {
        "tensors": f"{result.dequantized} dequantized from {widths} bits, "
        f"{result.converted} converted, {result.copied} copied",
        "size": f"{format_bytes(result.source_bytes)} -> {format_bytes(result.bytes)}",
        "verified": f"{result.verified} tensors read back and equal to the packed values unpacked "
        "again, bit for bit",
    }
    return card_text("dequantized", [Origin("source", spec.source, method)], job.inputs, facts)


def _pending(dense: Checkpoint, tensor: TensorEntry, wanted: str | None) -> PendingTensor:
    code = target_dtype(dense.config, tensor.name, tensor.dtype, wanted)
    return PendingTensor(tensor.name, code, tensor.shape, partial(_cast, tensor, code))


def _cast(tensor: TensorEntry, code: str) -> Tensor:
    return cast(tensor.read(), torch_dtype(code), tensor.name)


def _named(config: dict[str, object]) -> str:
    """The code of the type that a config names; BF16 if it names none that is one."""
    name = str(config.get("dtype") or config.get("torch_dtype")).removeprefix("torch.")
    return next((code for code in ("F32", "F16") if TORCH_NAMES[code] == name), "BF16")


def _account(dense: Checkpoint, item: PendingTensor, found: Unpacked) -> DequantizedTensor:
    bits = found.bits.get(item.name, [])
    if bits:
        return DequantizedTensor(name=item.name, action="dequantized", dtype=item.dtype, bits=bits)
    same = dense.tensors[item.name].dtype == item.dtype
    return DequantizedTensor(
        name=item.name, action="copied" if same else "converted", dtype=item.dtype, bits=[]
    )
