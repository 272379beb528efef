"""GGUF files, opened for reading: tensors are views of a map that must not be written to.

A quantized tensor is read as its bytes, or dequantized in pieces of rows, so that nothing larger
than the result is in memory.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import TYPE_CHECKING

from tfcli.checkpoints.gguf.header import read_header
from tfcli.checkpoints.gguf.quants import decode, plain_dtype
from tfcli.checkpoints.gguf.types import BY_NAME
from tfcli.checkpoints.io.disk import map_file, read_ahead
from tfcli.checkpoints.io.header import TensorInfo
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class GGUFFile:
    """One GGUF file, opened for reading. Nothing is mapped before the first tensor.

    Args:
        path: the file.

    Attributes:
        tensors: name -> what the header says; `dtype` is ggml's name of the type.
        metadata: key -> value. types: key -> its type.

    Raises:
        WorkError: as `read_header`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        header = read_header(path)
        self.tensors, self.metadata, self.types = header.tensors, header.metadata, header.types
        self.version, self.alignment = header.version, header.alignment
        self._map: mmap.mmap | None = None

    def info(self, name: str) -> TensorInfo:
        """What the header says of a tensor.

        Raises:
            WorkError: there is none of this name.
        """
        found = self.tensors.get(name)
        if found is None:
            raise WorkError(f"holds no tensor {short(name)}", where=str(self.path))
        return found

    def read(self, name: str) -> Tensor:
        """The tensor `name`, without a copy: its values where the type is plain, else its bytes.

        Bytes are uint8 [..., bytes of a row].

        Raises:
            WorkError: no such tensor, or the file became shorter.
        """
        import torch

        info = self.info(name)
        kind = BY_NAME[info.dtype]
        if kind.plain:
            dtype, shape = plain_dtype(kind), info.shape
        else:
            dtype, shape = torch.uint8, (*info.shape[:-1], kind.row_bytes(info.shape[-1]))
        if not info.nbytes:
            return torch.empty(shape, dtype=dtype)
        mapped = self._mapped()
        read_ahead(mapped, info.start, info.nbytes)
        # A view holds the map's lock, so that no one can close the map under a tensor.
        buffer = memoryview(mapped)
        raw = torch.frombuffer(buffer, dtype=torch.uint8, count=info.nbytes, offset=info.start)
        if info.start % dtype.itemsize:  # vector code may not read it where it is
            raw = raw.clone()
        return raw.view(dtype).reshape(shape)

    def dequantize(
        self, name: str, dtype: torch.dtype | None = None, index: int | None = None
    ) -> Tensor:
        """The values of the tensor `name`, whatever its type.

        Args:
            name: the tensor's name.
            dtype: of the result; None: float32 for quantized types, else as stored.
            index: a place in the first dimension, where only that part is wanted.

        Raises:
            WorkError: as `read`, or a type that cannot be dequantized.
        """
        import torch

        info = self.info(name)
        raw = self.read(name) if index is None else self.read(name)[index]
        if BY_NAME[info.dtype].plain:
            return raw if dtype is None else raw.to(dtype)
        shape = info.shape if index is None else info.shape[1:]
        out = torch.empty(shape, dtype=dtype or torch.float32)
        if out.numel():
            width = info.shape[-1]
            decode(raw.reshape(-1, raw.shape[-1]), info.dtype, out.view(-1, width))
        return out

    def _mapped(self) -> mmap.mmap:
        if self._map is None:
            end = max((info.start + info.nbytes for info in self.tensors.values()), default=0)
            self._map = map_file(self.path, end, writable=False)
        return self._map
