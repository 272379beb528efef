"""`tfcli shard`: stream a checkpoint's tensors, as they are stored, into files of another size."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tfcli.checkpoints.beside import CONFIG
from tfcli.checkpoints.card import CARD, Origin, card_text
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.containers import find_container
from tfcli.checkpoints.hf.container import HF, INDEX
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.hf.shards import write_shards
from tfcli.checkpoints.hf.source import PICKLED_INDEX
from tfcli.checkpoints.mlx.container import MLX
from tfcli.checkpoints.torch.file import is_torch_file
from tfcli.checkpoints.torch.serialize import write_torch_shards
from tfcli.checkpoints.write import WriteFiles, write_verified
from tfcli.console import Console
from tfcli.errors import WorkError
from tfcli.files import write_text
from tfcli.hub import resolve
from tfcli.recipe.job import Job
from tfcli.recipe.record import RECORD
from tfcli.shard.spec import ShardResult, ShardSpec
from tfcli.tokenizers.files import left_behind
from tfcli.units import format_bytes, parse_bytes


def run(spec: ShardSpec, job: Job) -> ShardResult:
    """Write `spec.source` into the job's folder, in files of another size.

    Raises:
        UsageError: there is no checkpoint.
        WorkError: broken files, files of two kinds, a full disk, a source that changed meanwhile,
            or written tensors that differ from the source's.
    """
    checkpoint = _open(resolve(spec.source), job.console)
    zipped, write = _writer(checkpoint)
    pending = [PendingTensor(one.name, one.dtype, one.shape, one.read) for one in checkpoint]
    beside = dict(checkpoint.unused)
    if beside:
        job.console.warn(f"{', '.join(beside)}: no tensors of the model; not written")
    size = parse_bytes(spec.shard_size)
    written = write_verified(
        job.output,
        pending,
        checkpoint.config,
        checkpoint,
        job.console,
        max_shard_bytes=size,
        write=write,
    )
    names = [path.name for path in checkpoint.files]
    container = "torch" if zipped else "safetensors"
    facts = {
        "container": f"{container}, as in the source",
        "tensors": f"{len(pending)}, as they were",
        "files": f"{len(names)} -> {len(written.files)}, at most {format_bytes(size)} each",
        "verified": f"{written.verified} tensors read back and equal to the source's, bit for bit",
    }
    card = card_text("in other files", [Origin("source", spec.source)], job.inputs, facts)
    write_text(job.output / CARD, card)
    return ShardResult(
        container="torch" if zipped else "safetensors",
        source_files=names,
        files=written.files,
        bytes=written.nbytes,
        verified=written.verified,
        companions=written.companions,
        left_out=_left_out(checkpoint.path, {*names, *written.companions}),
        beside=beside,
    )


def _open(path: Path, console: Console) -> Checkpoint:
    """A checkpoint whose tensors are as they are stored, where Hugging Face's folders hold them.

    Other containers have names and layouts of their own: these become Hugging Face's.
    """
    container = find_container(path)
    if container.package in (HF.package, MLX.package):
        return HF.read(path, Reading())
    console.note(f"{container.name}: written as a Hugging Face folder")
    return container.read(path, Reading())


def _writer(checkpoint: Checkpoint) -> tuple[bool, WriteFiles]:
    """Whether the files are torch's, and what writes more of their kind."""
    pickled = [is_torch_file(path) for path in checkpoint.files]
    if not any(pickled):
        return False, partial(write_shards, metadata=dict(checkpoint.metadata) or None)
    if not all(pickled):
        raise WorkError("weights in safetensors and in PyTorch's files", where=str(checkpoint.path))
    return True, write_torch_shards


def _left_out(folder: Path, carried: set[str]) -> list[str]:
    if not folder.is_dir():
        return []
    return left_behind(folder, {CARD, CONFIG, INDEX, PICKLED_INDEX, RECORD, *carried})
