"""Writing the zip files that torch.load reads, tensor by tensor.

The pickle comes first, because names, types and shapes are known before any value is; then one
storage for each tensor, asked for when its turn comes. Peak memory is one tensor. A file appears
under its name only when it is whole.

Each storage starts at a multiple of 64 bytes, as torch itself writes them, so that
torch.load(mmap=True) maps them. `.format_version` is left out: with it torch may compute where
storages lie, from the padding that its own writer would have made.

Source: torch/serialization.py (`_save`), PKWARE's APPNOTE.
"""

from __future__ import annotations

import io
import pickle
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.hf.index import index_text
from tfcli.checkpoints.hf.safetensors import PendingTensor, bytes_of
from tfcli.checkpoints.hf.shards import DEFAULT_SHARD_BYTES, plan_shards
from tfcli.checkpoints.hf.source import PICKLED, PICKLED_INDEX
from tfcli.checkpoints.io.disk import require_space, whole_file
from tfcli.checkpoints.io.dtypes import torch_dtype, torch_shape
from tfcli.checkpoints.io.sink import Sink
from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.torch.pickle.globals import STORAGES
from tfcli.checkpoints.torch.zip_directory import (
    CENTRAL,
    CENTRAL_LAYOUT,
    END,
    END64,
    END64_LAYOUT,
    END_LAYOUT,
    LOCAL,
    LOCAL_LAYOUT,
    LOCATOR64,
    LOCATOR64_LAYOUT,
)
from tfcli.errors import WorkError
from tfcli.files import write_text

if TYPE_CHECKING:
    import torch

ALIGNMENT = 64
_FOLDER = "archive"  # the one folder inside, as torch names it when it knows no file name
_NARROW = 0xFFFFFFFF  # what a field of 32 bits says when its number is in the zip64 extra
_VERSION = 45  # of the format: 4.5, with zip64
_UTF8 = 0x800
_NEW_YEAR = 0x21  # the first day that the format knows: files are the same whenever written
Content = Callable[[Mapping[str, Any]], Any]
_STORAGE_NAMES = {code: name for name, code in STORAGES.items() if code is not None}


def write_torch(path: Path, tensors: Iterable[PendingTensor], content: Content = dict) -> int:
    """Write tensors as torch.save would, in the order given.

    Args:
        path: the file; replaced in one step when it exists.
        tensors: what to write; each gets a storage of its own.
        content: gives the object that is saved for the tensors by name, which it puts into its
            place as they are; a dictionary of them if it is not given.

    Returns:
        The file's size in bytes.

    Raises:
        WorkError: a name that stands twice, values that differ from what was declared, a type
            that torch lacks, no room on the disk, or the file cannot be written. Nothing is left
            behind.
    """
    pending = list(tensors)
    pickled = pickle_tensors(pending, path, content)
    with whole_file(path, archive_bytes(pickled, pending)) as sink:
        return write_archive(sink, pickled, pending, path)


def archive_bytes(pickled: bytes, pending: Sequence[PendingTensor]) -> int:
    """An upper bound of what `write_archive` writes."""
    # Of headers and padding a storage takes less than 256 bytes.
    return len(pickled) + sum(item.nbytes + 256 for item in pending) + 4096


def write_archive(sink: Sink, pickled: bytes, pending: Sequence[PendingTensor], path: Path) -> int:
    """Write what `pickle_tensors` gave, and the tensors, as one archive from the file's place on.

    Returns:
        Its size in bytes.

    Raises:
        WorkError: values that differ from what was declared.
        OSError: the file cannot be written.
    """
    archive = Archive(sink)
    archive.add("data.pkl", pickled)
    archive.add("byteorder", b"little")
    for number, item in enumerate(pending):
        archive.add(f"data/{number}", bytes_of(item, path))
    archive.add("version", b"3\n")
    archive.finish()
    return archive.at


def write_torch_shards(
    folder: Path, tensors: Sequence[PendingTensor], max_shard_bytes: int = DEFAULT_SHARD_BYTES
) -> list[Path]:
    """Write `pytorch_model.bin`, or shards and `pytorch_model.bin.index.json`, as transformers did.

    The index comes last, so that a folder with an index has all of its shards.

    Returns:
        The weight files, in order.

    Raises:
        WorkError: as `write_torch`; a full disk is found before anything is written.
    """
    total = sum(tensor.nbytes for tensor in tensors)
    require_space(folder, total)
    shards = plan_shards(tensors, max_shard_bytes) or [[]]
    count = len(shards)
    names = [f"pytorch_model-{number:05d}-of-{count:05d}.bin" for number in range(1, count + 1)]
    names = names if count > 1 else [PICKLED]
    homes = {t.name: name for name, shard in zip(names, shards, strict=True) for t in shard}
    index = index_text(homes, total, folder / PICKLED_INDEX) if count > 1 else None
    for name, shard in zip(names, shards, strict=True):
        write_torch(folder / name, shard)
    if index is not None:
        write_text(folder / PICKLED_INDEX, index)
    return [folder / name for name in names]


def pickle_tensors(tensors: Iterable[PendingTensor], path: Path, content: Content = dict) -> bytes:
    """The pickle of an object with tensors, whose storages are `data/0`, `data/1` and so on.

    Args:
        tensors: in the order of the storages.
        path: for errors.
        content: as in `write_torch`.

    Raises:
        WorkError: a name that stands twice, or a type that torch lacks.
    """
    named: dict[str, _Tensor] = {}
    for number, item in enumerate(tensors):
        if item.name in named:
            raise WorkError(f"the tensor name {short(item.name)} is taken", where=str(path))
        dtype = torch_dtype(item.dtype, where=short(item.name))
        shape = torch_shape(item.dtype, item.shape)
        named[item.name] = _Tensor(_Storage(str(number), item.dtype, item.nbytes), dtype, shape)
    out = io.BytesIO()
    _Pickler(out, protocol=2).dump(content(named))
    return out.getvalue()


@dataclass(frozen=True, eq=False)
class _Storage:
    key: str
    code: str
    nbytes: int


@dataclass(frozen=True, eq=False)
class _Tensor:
    storage: _Storage
    dtype: torch.dtype
    shape: tuple[int, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        # What a torch tensor gives: a contiguous view of the whole storage.
        import torch

        strides: list[int] = []
        step = 1
        for size in reversed(self.shape):
            strides.insert(0, step)
            step *= max(size, 1)
        view: tuple[Any, ...] = (self.storage, 0, self.shape, tuple(strides), False, OrderedDict())
        if self.storage.code in _STORAGE_NAMES:
            return torch._utils._rebuild_tensor_v2, view
        return torch._utils._rebuild_tensor_v3, (*view, self.dtype)


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        if type(obj) is not _Storage:
            return None
        import torch

        # Newer types have no storage class of their own: those storages count bytes.
        name = _STORAGE_NAMES.get(obj.code)
        if name is None:
            return ("storage", torch.UntypedStorage, obj.key, "cpu", obj.nbytes)
        itemsize = torch_dtype(obj.code).itemsize
        return ("storage", getattr(torch, name), obj.key, "cpu", obj.nbytes // itemsize)


class Archive:
    """A zip archive of stored entries, written from front to back.

    Args:
        sink: the file; the archive begins at its place, a multiple of 64 bytes.
        narrow: from this number on, a place or a size is written in 64 bits.
    """

    def __init__(self, sink: Sink, *, narrow: int = _NARROW) -> None:
        self.sink, self.narrow = sink, narrow
        self.at = 0
        self._directory: list[bytes] = []

    def add(self, name: str, data: bytes | memoryview) -> None:
        """Write one entry; its data starts at a multiple of 64 bytes."""
        raw = f"{_FOLDER}/{name}".encode()
        view = memoryview(data).cast("B") if len(data) else memoryview(b"")
        header, size = self.at, view.nbytes
        wide = _wide([size, size]) if size >= self.narrow else b""
        used = header + LOCAL_LAYOUT.size + len(raw) + len(wide) + 4
        padding = -used % ALIGNMENT
        # torch's own mark for padding, which readers skip as an extra field that they do not know.
        extra = wide + b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
        crc = zlib.crc32(view)
        # Version to read, flags, method, time and date, checksum, both sizes.
        fields = (_VERSION, _UTF8, 0, 0, _NEW_YEAR, crc, *(self._low(n) for n in (size, size)))
        local = LOCAL_LAYOUT.pack(LOCAL, *fields, len(raw), len(extra))
        self._write(local + raw + extra)
        self._write(view)
        numbers = [n for n in (size, size, header) if n >= self.narrow]
        wide = _wide(numbers) if numbers else b""
        central = CENTRAL_LAYOUT.pack(
            CENTRAL, _VERSION, *fields, len(raw), len(wide), 0, 0, 0, 0, self._low(header)
        )
        self._directory.append(central + raw + wide)

    def finish(self) -> None:
        """Write the directory and what points to it."""
        directory, start, count = b"".join(self._directory), self.at, len(self._directory)
        self._write(directory)
        end = self.at
        size = len(directory)
        # Size of the rest of the record, made by, to read, disks, counts, the directory.
        record = END64_LAYOUT.pack(
            END64, END64_LAYOUT.size - 12, _VERSION, _VERSION, 0, 0, count, count, size, start
        )
        self._write(record + LOCATOR64_LAYOUT.pack(LOCATOR64, 0, end, 1))
        few = min(count, 0xFFFF)
        self._write(END_LAYOUT.pack(END, 0, 0, few, few, self._low(size), self._low(start), 0))

    def _low(self, number: int) -> int:
        return _NARROW if number >= self.narrow else number

    def _write(self, data: bytes | memoryview) -> None:
        self.sink.write(data)
        self.at += len(data)


def _wide(numbers: list[int]) -> bytes:
    """The zip64 extra field."""
    length = 8 * len(numbers)
    return b"".join(n.to_bytes(width, "little") for n, width in [(1, 2), (length, 2)]) + b"".join(
        n.to_bytes(8, "little") for n in numbers
    )
