"""GGUF files, opened for reading.

A quantized tensor is read as its bytes, or dequantized in pieces of rows, so that nothing larger
than the result is in memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tfcli.checkpoints.gguf.header import read_header
from tfcli.checkpoints.gguf.quants import decode
from tfcli.checkpoints.gguf.types import BY_NAME
from tfcli.checkpoints.io.file_tensor import FileTensor
from tfcli.checkpoints.io.header import TensorInfo
from tfcli.checkpoints.io.opened import OpenedFile
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class GGUFFile:
    """One GGUF file, opened for reading.

    Args:
        path: the file.

    Attributes:
        tensors: name -> what the header says; `dtype` is ggml's name of the type.
        metadata: key -> value. types: key -> its type.

    Raises:
        WorkError: as `read_header`.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.opened = path, OpenedFile(path)
        header = read_header(self.opened)
        self.tensors, self.metadata, self.types = header.tensors, header.metadata, header.types
        self.version, self.alignment = header.version, header.alignment

    def info(self, name: str) -> TensorInfo:
        """What the header says of a tensor.

        Raises:
            WorkError: there is none of this name.
        """
        found = self.tensors.get(name)
        if found is None:
            raise WorkError(f"holds no tensor {short(name)}", where=str(self.path))
        return found

    def tensor(self, name: str) -> FileTensor:
        """What reads the tensor `name`: its values where the type is plain, else its bytes.

        Bytes are uint8 [..., bytes of a row].

        Raises:
            WorkError: no such tensor.
        """
        info = self.info(name)
        kind = BY_NAME[info.dtype]
        code, shape = info.dtype, info.shape
        if not kind.plain:
            code, shape = "U8", (*info.shape[:-1], kind.row_bytes(info.shape[-1]))
        return FileTensor(self.opened, info.start, code, shape, f"{self.path}: {short(name)}")

    def read(self, name: str) -> Tensor:
        """The same, read whole.

        Raises:
            WorkError: no such tensor, or the file changed.
        """
        return self.tensor(name)()

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

        info, stored = self.info(name), self.tensor(name)
        shape = info.shape if index is None else info.shape[1:]
        stored = stored if index is None else stored.select(index)
        if BY_NAME[info.dtype].plain:
            values = stored()
            return values if dtype is None else values.to(dtype)
        out = torch.empty(shape, dtype=dtype or torch.float32)
        if out.numel():
            decode(stored, info.dtype, out)
        return out
