"""The `.metadata` of a torch.distributed.checkpoint folder: which chunk of a tensor lies where.

It is a pickle of torch's own small classes. They are read as inert records, by the machine that
reads every pickle here.

Source: torch/distributed/checkpoint/metadata.py and filesystem.py (torch 2.0 and later).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tfcli.checkpoints.io.dtypes import TORCH_NAMES
from tfcli.checkpoints.io.growing import Growing
from tfcli.checkpoints.io.header import MAX_DIMENSIONS
from tfcli.checkpoints.io.opened import OpenedFile
from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.torch.pickle.globals import find_global
from tfcli.checkpoints.torch.pickle.machine import BUDGET, Machine
from tfcli.checkpoints.torch.pickle.values import Global, PickleRefusedError, Record
from tfcli.errors import WorkError
from tfcli.files import inside

METADATA = ".metadata"
MAX_METADATA = 256_000_000  # bytes; a chunk takes about 200
_PRICE = 24  # of one byte of an honest file, in the machine's budget
_HOME = "torch.distributed.checkpoint"
_RECORDS = {
    *(
        f"{_HOME}.metadata.{name}"
        for name in (
            "BytesStorageMetadata",
            "ChunkStorageMetadata",
            "Metadata",
            "MetadataIndex",
            "StorageMeta",
            "TensorProperties",
            "TensorStorageMetadata",
            "_MEM_FORMAT_ENCODING",
        )
    ),
    f"{_HOME}.filesystem._StorageInfo",
    f"{_HOME}.filesystem._StoragePrefix",
    # Until torch 2.3
    "torch.distributed._shard.sharded_tensor.metadata.MEM_FORMAT_ENCODING",
    "torch.distributed._shard.sharded_tensor.metadata.TensorProperties",
    "torch.serialization._get_layout",
}
_CODES = {f"torch.{name}": code for code, name in TORCH_NAMES.items()}
_DAMAGED = "get the whole folder again; it is damaged, or was saved by an unfinished run"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A box of a tensor.

    Args:
        offsets: where it begins in the tensor, in each dimension.
        sizes: its own shape.
        file: the file that holds it.
        start: the place of its torch archive in that file, in bytes.
        length: of the archive, in bytes.
    """

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    file: Path
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Stored:
    """An item of the state that was saved.

    Args:
        name: as torch flattened it.
        path: the keys that lead to it in the nested state.
        dtype: code; empty for what is no tensor.
        shape: of the whole tensor.
        chunks: boxes that fill the tensor; none for what is no tensor.
    """

    name: str
    path: tuple[str, ...]
    dtype: str = ""
    shape: tuple[int, ...] = ()
    chunks: tuple[Chunk, ...] = ()


def read_metadata(folder: Path) -> list[Stored]:
    """What a folder holds, checked against the files that are there; their data is not read.

    Raises:
        WorkError: a pickle that is refused, a file that is missing or too short, chunks that do
            not fill their tensor once.
    """
    path = inside(folder, METADATA)
    file = OpenedFile(path)
    if file.size > MAX_METADATA:
        raise WorkError(f"has more than {MAX_METADATA} bytes", where=str(path))
    budget = max(BUDGET, _PRICE * file.size)
    try:
        with file.reading() as reader:
            machine = Machine(Growing(reader), find=_find, persistent=_no_storage, budget=budget)
            content = machine.load()
        return list(_items(content, folder))
    except PickleRefusedError as problem:
        raise WorkError(problem.what, where=str(path), fix=problem.fix) from None


def _find(name: str) -> Global:
    if name in _RECORDS:
        return Global(name, partial(Record, name), record=True)
    return find_global(name)


def _no_storage(value: Any) -> Any:
    raise PickleRefusedError("a persistent id, which no .metadata has", hostile=True)


def _items(content: Any, folder: Path) -> Iterator[Stored]:
    found = _field(content, "Metadata", "state_dict_metadata", dict)
    paths = content.get("planner_data")
    paths = paths if isinstance(paths, dict) else {}
    places: dict[tuple[str, tuple[int, ...] | None], Record] = {}
    for index, info in _field(content, "Metadata", "storage_data", dict).items():
        offset = index.get("offset") if isinstance(index, Record) else None
        name = _field(index, "MetadataIndex", "fqn", str)
        places[name, None if offset is None else _counts(offset, "offset", name)] = info
    sizes: dict[str, tuple[Path, int]] = {}
    for name, item in found.items():
        if type(name) is not str:
            raise PickleRefusedError(f"state_dict_metadata: a {type(name).__name__} is no name")
        path = _path(paths.get(name), name)
        if isinstance(item, Record) and item.kind.endswith(".BytesStorageMetadata"):
            yield Stored(name, path)
            continue
        shape = _counts(_field(item, "TensorStorageMetadata", "size"), "size", name)
        chunks = tuple(
            _chunk(name, chunk, places, folder, sizes)
            for chunk in _field(item, "TensorStorageMetadata", "chunks", list)
        )
        _require_filled(name, shape, chunks, folder)
        yield Stored(name, path, _dtype(item, name), shape, chunks)


def _field(record: Any, kind: str, name: str, expected: type = object) -> Any:
    if not isinstance(record, Record) or not record.kind.endswith(f".{kind}"):
        raise PickleRefusedError(f"expected a {kind}")
    value = record.get(name)
    if not isinstance(value, expected):
        raise PickleRefusedError(f"{name} of a {kind}: expected a {expected.__name__}")
    return value


def _counts(value: Any, field: str, name: str) -> tuple[int, ...]:
    good = type(value) is tuple and len(value) <= MAX_DIMENSIONS
    if not good or not all(type(n) is int and 0 <= n < 2**63 for n in value):
        raise PickleRefusedError(f"{field} of {short(name)}: expected at most 64 counts")
    found: tuple[int, ...] = value
    return found


def _path(value: Any, name: str) -> tuple[str, ...]:
    if type(value) is not tuple or not all(type(part) in (str, int) for part in value):
        return (name,)
    return tuple(str(part) for part in value)


def _dtype(item: Record, name: str) -> str:
    state = _field(item, "TensorStorageMetadata", "properties")
    state = state.state if isinstance(state, Record) else None
    first = state[0] if type(state) is tuple and state else None
    code = _CODES.get(first.name) if isinstance(first, Global) else None
    if code is None:
        raise PickleRefusedError(f"properties of {short(name)}: a type that is not read")
    return code


def _chunk(
    name: str, chunk: Any, places: dict[Any, Record], folder: Path, files: dict[str, Any]
) -> Chunk:
    offsets = _counts(_field(chunk, "ChunkStorageMetadata", "offsets"), "offsets", name)
    sizes = _counts(_field(chunk, "ChunkStorageMetadata", "sizes"), "sizes", name)
    info = places.get((name, offsets)) or places.get((name, None))
    if info is None:
        raise PickleRefusedError(f"storage_data: no place for {short(name)} from {list(offsets)}")
    relative = _field(info, "_StorageInfo", "relative_path", str)
    start, length = (_field(info, "_StorageInfo", key, int) for key in ("offset", "length"))
    if info.get("transform_descriptors"):
        raise PickleRefusedError(f"{short(name)} was transformed, such as compressed, when saved")
    if relative not in files:
        file = inside(folder, relative)
        if not file.is_file():
            raise WorkError(
                f"{short(relative)} is missing, which holds {short(name)}",
                where=str(folder),
                fix=_DAMAGED,
            )
        files[relative] = (file, file.stat().st_size)
    file, size = files[relative]
    if start < 0 or length <= 0 or start + length > size:
        raise WorkError(
            f"{short(name)} lies in bytes {start} to {start + length}, the file has {size}",
            where=str(file),
            fix=_DAMAGED,
        )
    return Chunk(offsets, sizes, file, start, length)


def _require_filled(
    name: str, shape: tuple[int, ...], chunks: tuple[Chunk, ...], folder: Path
) -> None:
    """Every value of the tensor is in one chunk, and in no second one."""
    fits = all(
        len(chunk.offsets) == len(chunk.sizes) == len(shape)
        and all(o + s <= n for o, s, n in zip(chunk.offsets, chunk.sizes, shape, strict=True))
        for chunk in chunks
    )
    filled = sum(math.prod(chunk.sizes) for chunk in chunks) == math.prod(shape)
    if not fits or not filled or not _disjoint([c for c in chunks if math.prod(c.sizes)]):
        raise WorkError(
            f"the {len(chunks)} chunks of {short(name)} do not fill its shape {list(shape)} once",
            where=str(folder / METADATA),
            fix=_DAMAGED,
        )


def _disjoint(chunks: list[Chunk]) -> bool:
    """Whether no two boxes share a place. Those cut along one dimension are compared in order."""
    cut = [
        dim
        for dim in range(len(chunks[0].sizes) if chunks else 0)
        if len({(c.offsets[dim], c.sizes[dim]) for c in chunks}) > 1
    ]
    if len(cut) == 1:
        spans = sorted((c.offsets[cut[0]], c.offsets[cut[0]] + c.sizes[cut[0]]) for c in chunks)
        return all(one[1] <= two[0] for one, two in itertools.pairwise(spans))
    return not any(
        all(
            a.offsets[d] < b.offsets[d] + b.sizes[d] and b.offsets[d] < a.offsets[d] + a.sizes[d]
            for d in range(len(a.sizes))
        )
        for number, a in enumerate(chunks)
        for b in chunks[:number]
    )
