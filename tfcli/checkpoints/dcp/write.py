"""torch.distributed.checkpoint folders: `.metadata` and one `.distcp` file or several.

Every tensor is one chunk, named `model.` and then as in transformers 5's model, as if
`dcp.save({"model": model.state_dict()})` had written it: that is what accelerate (and with it
transformers' Trainer), Lightning and torch's own examples save and ask for. `dcp.load` cuts the
chunk for however many processes a model is divided among.

Source: torch/distributed/checkpoint/filesystem.py and default_planner.py.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.container import WriteOptions, Writer
from tfcli.checkpoints.dcp.memory import as_in_memory, memory_name
from tfcli.checkpoints.dcp.metadata import METADATA
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.hf.shards import plan_shards
from tfcli.checkpoints.io.disk import require_space, whole_file
from tfcli.checkpoints.io.dtypes import BITS, torch_dtype
from tfcli.checkpoints.parameters import as_parameters
from tfcli.checkpoints.plan import Plan
from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.ties import config_ties
from tfcli.checkpoints.torch.serialize import (
    ALIGNMENT,
    archive_bytes,
    pickle_tensors,
    write_archive,
)
from tfcli.errors import UsageError

PREFIX = "model"


@dataclass(frozen=True)
class _Place:
    """Where the archive of a tensor lies: a file, its first byte there, and its bytes."""

    file: str
    start: int
    length: int


def prepare(view: Checkpoint) -> Checkpoint:
    """A view by the names that a model asks for.

    Raises:
        UsageError: values that are packed in parts of a byte.
        WorkError: values of a type that torch lacks, or two tensors of one name.
    """
    for tensor in view:
        if BITS[tensor.dtype] < 8:
            raise UsageError(
                f"{short(tensor.name)} is packed as {tensor.dtype}, which torch.distributed."
                "checkpoint does not hold",
                where="to",
                fix="convert to hf, or dequantize it first",
            )
        torch_dtype(tensor.dtype, where=short(tensor.name))
    return as_parameters(view)


def write(plan: Plan, folder: Path, options: WriteOptions) -> list[Path]:
    """Write a folder that `torch.distributed.checkpoint.load` reads.

    Tensors go to disk one at a time. Tied ones get a second entry for the same bytes, because
    `state_dict()` has both names and `load` wants all of them.

    Args:
        plan: of a view that went through `prepare`.
        folder: where the files go.
        options: `max_shard_bytes` bounds the `.distcp` files.

    Returns:
        The files, `.metadata` last: a folder that has it is whole.

    Raises:
        WorkError: values that do not fit their type, a full disk, or files that cannot be written.
    """
    pending = as_in_memory(plan.pending(), plan.config)
    require_space(folder, sum(item.nbytes for item in pending))
    files: list[Path] = []
    places: dict[str, _Place] = {}
    for number, shard in enumerate(plan_shards(pending, options.max_shard_bytes)):
        files.append(folder / f"__{number}_0.distcp")
        places |= _write_file(files[-1], shard)
    origins = {item.name: item.name for item in pending}
    for tied, shared in config_ties(plan.config).items():
        name, origin = (memory_name(one, plan.config) for one in (tied, shared))
        if origin in places:
            origins.setdefault(name, origin)
    data = _metadata({item.name: item for item in pending}, places, origins)
    with whole_file(folder / METADATA, len(data)) as sink:
        sink.write(data)
    return [*files, folder / METADATA]


def _write_file(path: Path, shard: list[PendingTensor]) -> dict[str, _Place]:
    """Write a file of archives; each begins at a multiple of 64 bytes."""
    pickles = [pickle_tensors([item], path, partial(_bare, item.name)) for item in shard]
    room = sum(archive_bytes(p, [item]) for p, item in zip(pickles, shard, strict=True))
    places = {}
    with whole_file(path, room + ALIGNMENT * len(shard)) as sink:
        for pickled, item in zip(pickles, shard, strict=True):
            sink.write(bytes(-sink.at % ALIGNMENT))
            start = sink.at
            length = write_archive(sink, pickled, [item], path)
            places[item.name] = _Place(path.name, start, length)
    return places


def _bare(name: str, tensors: dict[str, object]) -> object:
    return tensors[name]


def _metadata(
    pending: dict[str, PendingTensor], places: dict[str, _Place], origins: dict[str, str]
) -> bytes:
    """The pickle of torch's own classes that `load` unpickles."""
    import torch
    from torch.distributed.checkpoint.filesystem import _StorageInfo
    from torch.distributed.checkpoint.metadata import (
        ChunkStorageMetadata,
        Metadata,
        MetadataIndex,
        TensorProperties,
        TensorStorageMetadata,
    )

    tensors: dict[str, Any] = {}
    paths, storage = {}, {}
    for name, origin in origins.items():
        item, place, key = pending[origin], places[origin], f"{PREFIX}.{name}"
        shape = torch.Size(item.shape)
        chunk = ChunkStorageMetadata(torch.Size([0] * len(shape)), shape)
        properties = TensorProperties(dtype=torch_dtype(item.dtype))
        tensors[key] = TensorStorageMetadata(properties, shape, [chunk])
        paths[key] = (PREFIX, name)
        storage[MetadataIndex(key, chunk.offsets)] = _StorageInfo(
            place.file, place.start, place.length
        )
    return pickle.dumps(Metadata(tensors, paths, storage))


WRITER = Writer(write, prepare)
