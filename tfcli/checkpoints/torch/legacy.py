"""Files of torch.save in the format before torch 1.6.

Five pickles, one after the other: a magic number, the format's version, facts of the machine that
wrote it, the object, and the list of its storages' keys. Then the storages in that order: the
number of elements in 8 bytes, and their bytes. Nothing is aligned.

Source: torch/serialization.py (`_legacy_save`, `_legacy_load`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfcli.checkpoints.io.dtypes import BITS
from tfcli.checkpoints.io.growing import Growing
from tfcli.checkpoints.io.opened import OpenedFile, Reader
from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.torch.pickle.globals import find_global
from tfcli.checkpoints.torch.pickle.machine import Machine
from tfcli.checkpoints.torch.pickle.values import PickleRefusedError, Storage
from tfcli.checkpoints.torch.zip import storage_id, storage_type
from tfcli.errors import WorkError

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
_COUNT = 8  # bytes of the number before each storage
_AGAIN = "get the file again; it is damaged or was not written by torch.save"


def read_legacy(file: OpenedFile) -> Any:
    """The pickled object of a legacy file, its tensors as `StoredTensor`. No weights are read.

    Raises:
        WorkError: it is no such file, is big-endian, holds a pickle that is refused, or storages
            that are not what the pickle says.
    """
    if not file.size:
        raise WorkError("truncated: the file is empty", where=str(file.path), fix=_AGAIN)
    with file.reading() as reader:
        return _Pickles(reader, file.path).read()


class _Pickles:
    """What the five pickles share: the place in the file, the budget, and the storages."""

    def __init__(self, reader: Reader, path: Path) -> None:
        self.reader, self.path = reader, path
        self.source = Growing(reader)
        self.at = 0
        self.left: int | None = None
        self.storages: dict[str, Storage] = {}
        self.views: dict[str, Storage] = {}

    def read(self) -> Any:
        if self.pickle("magic number") != MAGIC:
            raise WorkError(
                "a pickle that torch.save did not write",
                where=str(self.path),
                fix="write the tensors with torch.save or as safetensors",
            )
        version = self.pickle("version")
        if version != VERSION:
            raise self.refuse(f"version: expected {VERSION}, found {_plain(version)}")
        system = self.pickle("system facts")
        if type(system) is not dict or system.get("little_endian") is not True:
            raise self.refuse("little_endian: the values are big-endian; little ones are read")
        content = self.pickle("object")
        self.place(self.pickle("storage keys"))
        return content

    def pickle(self, name: str) -> Any:
        machine = Machine(
            self.source,
            start=self.at,
            find=find_global,
            persistent=self.persistent,
            budget=self.left,
        )
        try:
            found = machine.load()
        except PickleRefusedError as problem:
            raise WorkError(
                f"{name}: {problem.what}", where=str(self.path), fix=problem.fix
            ) from None
        self.at, self.left = machine.at, machine.left
        return found

    def persistent(self, value: Any) -> Storage:
        kind, key, _, numel, view = storage_id(value, 6)
        dtype = storage_type(kind)
        nbytes = numel * _itemsize(dtype)
        whole = self.storages.setdefault(key, Storage(key, dtype, nbytes))
        if (whole.dtype, whole.nbytes) != (dtype, nbytes):
            raise PickleRefusedError(f"storage {short(key)}: it is announced in two ways")
        if view is None:
            return whole
        # Files of the first versions: a part of the storage, with a key of its own.
        if type(view) is not tuple or len(view) != 3 or type(view[0]) is not str:
            raise PickleRefusedError(f"storage {short(key)}: its view is no key, offset and size")
        part, offset, count = view
        if not all(type(n) is int and 0 <= n <= numel for n in (offset, count)):
            raise PickleRefusedError(f"storage {short(key)}: its view is outside of it")
        if offset + count > numel:
            raise PickleRefusedError(f"storage {short(key)}: its view reaches past its end")
        size = _itemsize(dtype)
        return self.views.setdefault(part, Storage(part, dtype, count * size, offset * size, whole))

    def place(self, keys: Any) -> None:
        """Give each storage its place in the file, in the order of the keys."""
        if type(keys) is not list or not all(type(key) is str for key in keys):
            raise self.refuse("storage keys: expected a list of texts")
        waiting = dict(self.storages)
        for key in keys:
            storage = waiting.pop(key, None)
            if storage is None:
                raise self.refuse(f"storage keys: {short(key)} is unknown or stands twice")
            count = int.from_bytes(self.reader.bytes(self.at, _COUNT), "little", signed=True)
            start = self.at + _COUNT
            if start + storage.nbytes > self.reader.size:
                raise self.refuse(
                    f"truncated: storage {short(key)} takes bytes {start} to "
                    f"{start + storage.nbytes}, the file has {self.reader.size}"
                )
            if count * _itemsize(storage.dtype) != storage.nbytes:
                raise self.refuse(
                    f"storage {short(key)}: {storage.nbytes // _itemsize(storage.dtype)} elements "
                    f"are announced, {count} are stored"
                )
            storage.start = start
            self.at = start + storage.nbytes
        if waiting:
            raise self.refuse(f"storage keys: {short(next(iter(waiting)))} is missing")
        if self.at != self.reader.size:
            raise self.refuse(f"{self.reader.size - self.at} bytes follow the last storage")
        for view in self.views.values():
            if view.whole is not None:
                view.start += view.whole.start

    def refuse(self, what: str) -> WorkError:
        return WorkError(what, where=str(self.path), fix=_AGAIN)


def _itemsize(dtype: str | None) -> int:
    return max(BITS[dtype] // 8, 1) if dtype else 1


def _plain(value: Any) -> str:
    return str(value) if type(value) is int and value < 2**63 else f"a {type(value).__name__}"
