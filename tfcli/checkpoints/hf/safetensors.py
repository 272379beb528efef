"""Safetensors files: tensors read when they are asked for, streaming writing.

Each tensor is read into memory of its own; a file that changes between two of them is refused.

Writing puts the header first and then one tensor at a time, each asked for when its turn comes, so
that peak memory is one tensor; another thread writes while the next pieces are made (`sink`). A
file appears under its name only when it is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tfcli.checkpoints.io.casting import cast, raw_bytes
from tfcli.checkpoints.io.disk import whole_file
from tfcli.checkpoints.io.dtypes import (
    BITS,
    dtype_code,
    stored_shape,
    torch_dtype,
    torch_shape,
)
from tfcli.checkpoints.io.file_tensor import FileTensor, Values, values_from
from tfcli.checkpoints.io.header import data_bytes, encode_header, read_header
from tfcli.checkpoints.io.opened import OpenedFile
from tfcli.checkpoints.io.sink import Sink
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError

if TYPE_CHECKING:
    from torch import Tensor


class SafetensorsFile:
    """One safetensors file, opened for reading.

    Args:
        path: the file.

    Raises:
        WorkError: as `read_header`.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.opened = path, OpenedFile(path)
        header = read_header(self.opened)
        self.tensors, self.metadata = header.tensors, header.metadata

    def tensor(self, name: str) -> FileTensor:
        """What reads the tensor `name`, whole or in part.

        Raises:
            WorkError: no such tensor.
        """
        info = self.tensors.get(name)
        if info is None:
            raise WorkError(f"holds no tensor {short(name)}", where=str(self.path))
        shape = torch_shape(info.dtype, info.shape)
        where = f"{self.path}: {short(name)}"
        return FileTensor(self.opened, info.start, info.dtype, shape, where)

    def read(self, name: str) -> Tensor:
        """The tensor `name`, in memory of its own.

        Raises:
            WorkError: no such tensor, a type that torch lacks, or the file changed.
        """
        return self.tensor(name)()


@dataclass(frozen=True)
class PendingTensor:
    """A tensor to be written: what the header needs now, the values when their turn comes.

    Args:
        name: the tensor's name.
        dtype: its safetensors code.
        shape: its dimensions, in elements.
        read: gives the values; called once, may give a tensor on any device.
        cast: the values may come in another type, and are cast as they are written.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], Tensor]
    cast: bool = False

    @classmethod
    def of(cls, name: str, tensor: Tensor) -> PendingTensor:
        """A tensor that is there already."""
        code = dtype_code(tensor.dtype)
        return cls(name, code, stored_shape(code, tuple(tensor.shape)), lambda: tensor)

    @property
    def values(self) -> Values:
        """The values to go through once, on the CPU or in a file; what `read` makes."""
        return values_from(self.read)

    @property
    def nbytes(self) -> int:
        """The bytes that the data takes in the file."""
        return data_bytes(self.dtype, self.shape)


def write_safetensors(
    path: Path, tensors: Iterable[PendingTensor], metadata: Mapping[str, str] | None = None
) -> int:
    """Write a file tensor by tensor, and rename it into place when it is whole and synced.

    Wide types come first, so that every tensor starts at a multiple of its element size; within
    a type the order is the one given.

    Args:
        path: the file; replaced in one step when it exists.
        tensors: what to write.
        metadata: texts for the header; `{"format": "pt"}` if None, which transformers expects.

    Returns:
        The file's size in bytes.

    Raises:
        WorkError: a name that stands twice, values that differ from what was declared, no room on
            the disk, or the file cannot be written. Nothing is left behind.
    """
    # Whole bytes come before packed types: F4 and F6 need no alignment.
    ordered = sorted(tensors, key=lambda item: -BITS[item.dtype])
    header = encode_header(
        ((item.name, item.dtype, item.shape, item.nbytes) for item in ordered),
        {"format": "pt"} if metadata is None else metadata,
    )
    size = len(header) + sum(item.nbytes for item in ordered)
    with whole_file(path, size) as sink:
        sink.write(header)
        for item in ordered:
            write_values(sink, item, path)
    return size


def write_values(sink: Sink, item: PendingTensor, path: Path) -> None:
    """Write the values of a tensor whose turn it is into the file `path`.

    Raises:
        WorkError: they differ from what was declared, or do not fit the type.
        OSError: as `Sink.write`.
    """
    values = values_of(item, path)
    if 0 not in values.shape:
        sink.write_tensor(values, torch_dtype(item.dtype), item.name)


def bytes_of(item: PendingTensor, path: Path) -> memoryview:
    """The values of a tensor whose turn it is, whole, as they stand in the file `path`.

    Raises:
        WorkError: as `write_values`.
    """
    values = values_of(item, path)
    tensor = values() if isinstance(values, FileTensor) else values
    if not tensor.numel():
        return memoryview(b"")
    return raw_bytes(cast(tensor, torch_dtype(item.dtype), item.name)).numpy().data


def values_of(item: PendingTensor, path: Path) -> Values:
    """The values of a tensor whose turn it is, on the CPU or in a file, not yet cast.

    Raises:
        WorkError: they differ in shape from what was declared, or in type where no cast was.
    """
    values = item.values
    code = dtype_code(values.dtype)
    shape = stored_shape(code, tuple(values.shape))
    if shape != item.shape or (code != item.dtype and not item.cast):
        raise WorkError(
            f"{short(item.name)} was to be {item.dtype} {list(item.shape)}, "
            f"its values are {code} {list(shape)}",
            where=str(path),
        )
    return values
