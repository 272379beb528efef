"""Files of torch.save, opened for reading: tensors by name, as views of the mapped file.

The pickle in such a file is read by a machine that runs nothing (`pickle_machine`); torch's own
loader is not used, and there is no way to turn to it.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.io.disk import map_file, read_ahead
from tfcli.checkpoints.io.dtypes import stored_shape, torch_dtype
from tfcli.checkpoints.io.header import TensorInfo
from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.torch.legacy import read_legacy
from tfcli.checkpoints.torch.pickle.tree import describe, name_tensors
from tfcli.checkpoints.torch.pickle.values import PickleRefusedError, StoredTensor
from tfcli.checkpoints.torch.zip import read_zip
from tfcli.errors import WorkError

if TYPE_CHECKING:
    from torch import Tensor

ZIP = b"PK\x03\x04"
PICKLE = b"\x80"  # how every pickle of protocol 2 and later begins
# A view may repeat its values (torch's expand). What it unfolds to is bounded by its file's size,
# or by this for small files, in bytes.
_EXPANDED = 1 << 26


def is_torch_file(path: Path) -> bool:
    """Whether a file begins as those of torch.save do: as a zip archive or as a pickle.

    False for what is no file, or cannot be read.
    """
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError:
        return False
    # The first bytes of safetensors are the length of a header, which begins with a brace.
    return head.startswith((ZIP, PICKLE)) and head[4:] != b"\0\0\0\0{"


class TorchFile:
    """One file of torch.save, zip or legacy, as its first bytes say.

    `tensors`, `metadata` and `read` are those of `SafetensorsFile`. Here `metadata` says in a few
    words what the file holds beside the tensors, `extras` has it as plain data by the same names,
    and `content` is the whole object with `StoredTensor` in the place of each tensor, for readers
    of formats that lay out their tensors in another way.

    Args:
        path: the file.
        part: where in it a zip archive begins and its length, in bytes, for containers that hold
            several; None: it is the whole file.
        writable: whether tensors may be written to, see `map_file`.

    Raises:
        WorkError: as `read_zip`, `read_legacy` and `name_tensors`; names the file.
    """

    def __init__(
        self, path: Path, part: tuple[int, int] | None = None, *, writable: bool = True
    ) -> None:
        self.path, self._writable = path, writable
        with path.open("rb") as file:
            zipped = part is not None or file.read(len(ZIP)) == ZIP
            self._size = file.seek(0, 2)
        if part is not None and not 0 <= part[0] <= part[0] + part[1] <= self._size:
            raise WorkError(
                f"bytes {part[0]} to {part[0] + part[1]} are outside of the {self._size} held",
                where=str(path),
            )
        self.content: Any = read_zip(path, part) if zipped else read_legacy(path)
        try:
            self._stored, self.extras = name_tensors(self.content)
        except PickleRefusedError as problem:
            raise WorkError(problem.what, where=str(path), fix=problem.fix) from None
        self.tensors = {name: self._info(name, stored) for name, stored in self._stored.items()}
        self.metadata = {name: describe(value) for name, value in self.extras.items()}
        self._map: mmap.mmap | None = None
        self._storages: dict[tuple[int, str], Tensor] = {}

    def read(self, name: str) -> Tensor:
        """The tensor `name`: a view of the private map, without a copy.

        Tensors that share a storage in the file share it here. Only where the storage's place in
        the file is no multiple of the element size, as in three of four legacy files, is the
        tensor copied, because vector code may not read it where it is.

        Raises:
            WorkError: no such tensor, a type that torch lacks, or the file became shorter.
        """
        stored = self._stored.get(name)
        if stored is None:
            raise WorkError(f"holds no tensor {short(name)}", where=str(self.path))
        return self.load(stored, short(name))

    def load(self, stored: StoredTensor, shown: str = "a tensor") -> Tensor:
        """As `read`, for a tensor of `content`."""
        import torch

        dtype = torch_dtype(stored.dtype, where=f"{self.path}: {shown}")
        if not stored.elements:
            return torch.empty(stored.shape, dtype=dtype)
        mapped = self._mapped()
        read_ahead(mapped, stored.start, stored.extent * dtype.itemsize)
        storage = stored.storage
        if storage.start % dtype.itemsize:
            count = stored.extent * dtype.itemsize
            raw = torch.frombuffer(
                memoryview(mapped), dtype=torch.uint8, count=count, offset=stored.start
            )
            return raw.clone().view(dtype).as_strided(stored.shape, stored.stride)
        whole = self._storages.get((id(storage), stored.dtype))
        if whole is None:
            # A view of the map holds its lock, so that no one can close it under a tensor.
            whole = torch.frombuffer(
                memoryview(mapped),
                dtype=dtype,
                count=storage.nbytes // dtype.itemsize,
                offset=storage.start,
            )
            self._storages[id(storage), stored.dtype] = whole
        return whole.as_strided(stored.shape, stored.stride, stored.offset)

    def _info(self, name: str, stored: StoredTensor) -> TensorInfo:
        if stored.nbytes > max(stored.storage.nbytes, self._size, _EXPANDED):
            raise WorkError(
                f"shape of {short(name)}: {stored.nbytes} bytes are unfolded from "
                f"{stored.storage.nbytes}",
                where=str(self.path),
                fix="save it without its repeated values, as tensor.clone()",
            )
        shape = stored_shape(stored.dtype, stored.shape)
        return TensorInfo(name, stored.dtype, shape, self.path, stored.start, stored.nbytes)

    def _mapped(self) -> mmap.mmap:
        if self._map is None:
            self._map = map_file(self.path, self._size, writable=self._writable)
        return self._map
