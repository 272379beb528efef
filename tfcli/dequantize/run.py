"""`tfcli dequantize`: stream packed linears into dense tensors. The model is never built."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from tfcli.checkpoints.card import CARD, Origin, card_text
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.containers import open_ref
from tfcli.checkpoints.folder import CONFIG
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.io.casting import cast
from tfcli.checkpoints.io.dtypes import FLOATS, TORCH_NAMES, USER_NAMES, torch_dtype
from tfcli.checkpoints.ties import require_ties
from tfcli.checkpoints.write import write_verified
from tfcli.convert.containers import with_dtype
from tfcli.dequantize.packed import PackedLinear, by_tensor, find_packed, unpack_tensor
from tfcli.dequantize.spec import DequantizedTensor, DequantizeResult, DequantizeSpec
from tfcli.errors import UsageError, WorkError
from tfcli.files import write_text
from tfcli.recipe.job import Job
from tfcli.units import format_bytes, parse_bytes

OLD_CONFIG = "quantize_config.json"
"""What GPTQ libraries write beside config.json; it would be wrong of the result."""


def run(spec: DequantizeSpec, job: Job) -> DequantizeResult:
    """Unpack `spec.source` into the job's folder.

    Raises:
        UsageError: no such folder, or a dense checkpoint.
        WorkError: a layout that is not read, packed tensors that do not fit the config, a value
            beyond the type, a full disk, files that changed meanwhile, or written tensors that
            differ from a second pass.
    """
    checkpoint = open_ref(spec.source)
    require_ties(checkpoint)
    if not checkpoint.is_quantized:
        raise UsageError(
            "the checkpoint is dense already",
            where=str(checkpoint.path / CONFIG),
            fix="tfcli convert changes its type",
        )
    linears = find_packed(checkpoint)
    config = {k: v for k, v in checkpoint.config.items() if k != "quantization_config"}
    wanted = None if spec.dtype is None else USER_NAMES[spec.dtype]
    packed = by_tensor(linears)
    pending = _kept(checkpoint, linears, wanted)
    for name, parts in packed.items():
        if name in checkpoint.tensors:
            raise WorkError(f"{name} is there packed and dense", where=str(checkpoint.path))
        pending.append(_unpacked(checkpoint, name, parts, wanted or _named(config)))
    written = write_verified(
        job.output,
        pending,
        with_dtype(config, wanted),
        checkpoint,
        job.console,
        sources=[checkpoint],
        max_shard_bytes=parse_bytes(spec.shard_size),
    )
    (job.output / OLD_CONFIG).unlink(missing_ok=True)

    tensors = [_account(checkpoint, item, packed) for item in pending]
    actions = [tensor.action for tensor in tensors]
    result = DequantizeResult(
        dequantized=actions.count("dequantized"),
        converted=actions.count("converted"),
        copied=actions.count("copied"),
        source_bytes=checkpoint.nbytes,
        bytes=written.nbytes,
        files=written.files,
        verified=written.verified,
        companions=[name for name in written.companions if name != OLD_CONFIG],
        tensors=tensors,
    )
    bits = sorted({linear.layout.bits for linear in linears})
    write_text(job.output / CARD, _card(spec, job, result, bits))
    return result


def _card(spec: DequantizeSpec, job: Job, result: DequantizeResult, bits: list[int]) -> str:
    widths = " and ".join(map(str, bits))
    facts = {
        "tensors": f"{result.dequantized} dequantized from {widths} bits, "
        f"{result.converted} converted, {result.copied} copied",
        "size": f"{format_bytes(result.source_bytes)} -> {format_bytes(result.bytes)}",
        "verified": f"{result.verified} tensors read back and equal to the packed values unpacked "
        "again, bit for bit",
    }
    return card_text("dequantized", [Origin("source", spec.source, "gptq")], job.inputs, facts)


def _kept(
    checkpoint: Checkpoint, linears: list[PackedLinear], wanted: str | None
) -> list[PendingTensor]:
    """The tensors that are no part of a packed weight."""
    parts = {name for linear in linears for name in linear.parts}
    pending = []
    for name in checkpoint.distinct:
        if name in parts:
            continue
        info = checkpoint.tensors[name]
        code = wanted if wanted and info.dtype in FLOATS else info.dtype
        read = partial(_cast, checkpoint, name, code)
        pending.append(PendingTensor(name, code, info.shape, read))
    return pending


def _unpacked(
    checkpoint: Checkpoint, name: str, parts: list[PackedLinear], code: str
) -> PendingTensor:
    shape: tuple[int, ...] = parts[0].shape(checkpoint)
    if parts[0].place.index is not None:
        shape = (len(parts), *shape)
    read = partial(unpack_tensor, parts, checkpoint, torch_dtype(code))
    return PendingTensor(name, code, shape, read)


def _cast(checkpoint: Checkpoint, name: str, code: str) -> Tensor:
    return cast(checkpoint.weights[name], torch_dtype(code), name)


def _named(config: dict[str, object]) -> str:
    """The code of the type that a config names; BF16 if it names none that is one."""
    name = str(config.get("dtype") or config.get("torch_dtype")).removeprefix("torch.")
    return next((code for code in ("F32", "F16") if TORCH_NAMES[code] == name), "BF16")


def _account(
    checkpoint: Checkpoint, item: PendingTensor, packed: dict[str, list[PackedLinear]]
) -> DequantizedTensor:
    bits = sorted({linear.layout.bits for linear in packed.get(item.name, [])})
    if bits:
        return DequantizedTensor(name=item.name, action="dequantized", dtype=item.dtype, bits=bits)
    same = checkpoint.tensors[item.name].dtype == item.dtype
    return DequantizedTensor(
        name=item.name, action="copied" if same else "converted", dtype=item.dtype, bits=[]
    )
