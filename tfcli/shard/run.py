"""`tfcli shard`: stream a checkpoint's tensors, as they are stored, into files of another size."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tfcli.checkpoints.card import CARD, Origin, card_text
from tfcli.checkpoints.checkpoint import Writer, write_verified
from tfcli.checkpoints.folder import CONFIG, read_object
from tfcli.checkpoints.safetensors import PendingTensor, SafetensorsFile
from tfcli.checkpoints.shards import write_shards
from tfcli.checkpoints.source import INDEX, PICKLED_INDEX, TensorSource, open_checkpoint
from tfcli.checkpoints.torch_write import write_torch_shards
from tfcli.convert.readers.hf import header_texts
from tfcli.errors import UsageError, WorkError
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
        UsageError: the source is no folder.
        WorkError: broken files, files of two kinds, a full disk, a source that changed meanwhile,
            or written tensors that differ from the source's.
    """
    folder = resolve(spec.source)
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is a file", where="source", fix="name the folder with its config.json"
        )
    config, source = read_object(folder, CONFIG), open_checkpoint(folder, writable=False)
    zipped, write = _writer(source, folder)
    pending = [
        PendingTensor(info.name, info.dtype, info.shape, partial(source.__getitem__, info.name))
        for info in source.infos()
    ]
    if source.beside:
        job.console.warn(f"{', '.join(source.beside)}: no tensors of the model; not written")
    size = parse_bytes(spec.shard_size)
    written = write_verified(
        job.output,
        pending,
        config,
        folder,
        job.console,
        sources=[source],
        max_shard_bytes=size,
        write=write,
    )
    container = "torch" if zipped else "safetensors"
    facts = {
        "container": f"{container}, as in the source",
        "tensors": f"{len(pending)}, as they were",
        "files": f"{len(source.files)} -> {len(written.files)}, at most {format_bytes(size)} each",
        "verified": f"{written.verified} tensors read back and equal to the source's, bit for bit",
    }
    card = card_text("in other files", [Origin("source", spec.source)], job.inputs, facts)
    write_text(job.output / CARD, card)
    names = [file.path.name for file in source.files]
    return ShardResult(
        container="torch" if zipped else "safetensors",
        source_files=names,
        files=written.files,
        bytes=written.nbytes,
        verified=written.verified,
        companions=written.companions,
        left_out=_left_out(folder, {*names, *written.companions}),
        beside=source.beside,
    )


def _writer(source: TensorSource, folder: Path) -> tuple[bool, Writer]:
    """Whether the files are torch's, and what writes more of their kind."""
    plain = [file for file in source.files if isinstance(file, SafetensorsFile)]
    if not plain:
        return True, write_torch_shards
    if len(plain) < len(source.files):
        raise WorkError("weights in safetensors and in PyTorch's files", where=str(folder))
    return False, partial(write_shards, metadata=header_texts(source) or None)


def _left_out(folder: Path, carried: set[str]) -> list[str]:
    return left_behind(folder, {CARD, CONFIG, INDEX, PICKLED_INDEX, RECORD, *carried})
