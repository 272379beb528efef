"""Tensors as they lie in a file: read whole, in part, or piece by piece."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from tfcli.checkpoints.io.dtypes import BITS, torch_dtype
from tfcli.checkpoints.io.opened import OpenedFile, Reader

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_BLOCK = 1 << 22  # bytes that are read at once where a part of each row is wanted


@dataclass(frozen=True)
class FileTensor:
    """A tensor whose values lie in a file in row-major order; calling it reads them.

    Args:
        file: the opened file.
        start: the first value's place in it, in bytes.
        code: the type, such as `BF16`.
        shape: as torch counts it.
        where: file and tensor, for errors.
        whole: reads all values, where that is more than reading bytes.
        begun: called when values are read.
    """

    file: OpenedFile
    start: int
    code: str
    shape: tuple[int, ...]
    where: str
    whole: Callable[[], Tensor] | None = None
    begun: Callable[[], None] | None = None

    @property
    def dtype(self) -> torch.dtype:
        """The type of the values.

        Raises:
            WorkError: torch has none of this name.
        """
        return torch_dtype(self.code, where=self.where)

    @property
    def itemsize(self) -> int:
        """The bytes of a value as torch counts them; two F4 values are one."""
        return max(BITS[self.code] // 8, 1)

    @property
    def nbytes(self) -> int:
        """The bytes of all values."""
        return math.prod(self.shape) * self.itemsize

    def __call__(self) -> Tensor:
        """The values, in memory of their own that may be written to.

        Raises:
            WorkError: the file changed or cannot be read, or torch lacks the type.
        """
        dtype = self.dtype
        if self.whole is not None:
            self._begin()
            return self.whole()
        raw = own_memory(self.nbytes)
        with self.reading() as reader:
            reader.into(self.start, raw.numpy().data)
        return raw.view(dtype).view(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Tensor:
        """The values of some rows, as those of a tensor."""
        first, last, _ = rows.indices(len(self))
        return self.rows(first, last)()

    def rows(self, first: int, last: int) -> FileTensor:
        """A part of the first dimension; nothing is read."""
        return self._part(first, (last - first, *self.shape[1:]))

    def select(self, number: int) -> FileTensor:
        """One entry of the first dimension; nothing is read."""
        return self._part(number, self.shape[1:])

    def reshape(self, first: int, width: int) -> FileTensor:
        """The same values as rows [n, width], as `Tensor.reshape(-1, width)`."""
        assert first == -1, "only the width is given"
        return replace(self, shape=(math.prod(self.shape) // width, width), whole=None)

    def _part(self, first: int, shape: tuple[int, ...]) -> FileTensor:
        step = math.prod(self.shape[1:]) * self.itemsize
        return replace(self, start=self.start + first * step, shape=shape, whole=None)

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """As `OpenedFile.reading`, for those that read the bytes themselves."""
        self._begin()
        with self.file.reading() as reader:
            yield reader

    def _begin(self) -> None:
        if self.begun is not None:
            self.begun()

    def narrow(self, dim: int, start: int, length: int) -> Tensor:
        """The values of a part of one dimension, as `Tensor.narrow`; no more is kept than that."""
        import torch

        if dim == 0:
            return self.rows(start, start + length)()
        shape = (*self.shape[:dim], length, *self.shape[dim + 1 :])
        out = torch.empty(shape, dtype=self.dtype)
        # The dimensions before it count as one: of each of its entries a part is wanted.
        inner, target, at = self.shape[dim:], out.view(-1, *shape[dim:]), 0
        entry = math.prod(inner)
        for piece in self.pieces(max(_BLOCK // max(entry * self.itemsize, 1), 1) * entry):
            rows = piece.view(-1, *inner)
            target[at : at + len(rows)] = rows.narrow(1, start, length)
            at += len(rows)
        return out

    def pieces(self, limit: int) -> Iterator[Tensor]:
        """The values in order, as flat tensors of `limit` elements, the last of fewer.

        They lie in the same memory: each is valid until the next.

        Raises:
            WorkError: as when all are read.
        """
        dtype, size, count = self.dtype, self.itemsize, math.prod(self.shape)
        step = min(limit, count)
        if not count:
            return
        raw = own_memory(step * size)
        values, memory = raw.view(dtype), raw.numpy().data
        with self.reading() as reader:
            for at in range(0, count, step):
                here = min(step, count - at)
                reader.into(self.start + at * size, memory[: here * size])
                yield values[:here]


Values: TypeAlias = "Tensor | FileTensor"
"""A tensor that is there, or one that is read as it is needed."""


def flat_pieces(values: Values, limit: int) -> Iterator[Tensor]:
    """The values in row-major order, as flat tensors of `limit` elements, the last of fewer.

    Each is valid until the next.
    """
    if isinstance(values, FileTensor):
        return values.pieces(limit)
    return iter(values.reshape(-1).split(limit) if values.numel() else ())


def values_from(read: Callable[[], Tensor]) -> Values:
    """What `read` makes, on the CPU, to be gone through once; not read at once where it lies in a
    file."""
    return read if isinstance(read, FileTensor) else read().detach().cpu()


def rows_of(values: Values, first: int, last: int) -> Values:
    """A part of the first dimension; nothing is read."""
    if isinstance(values, FileTensor):
        return values.rows(first, last)
    return values[first:last]


def watched(read: Callable[[], Tensor], begun: Callable[[], None]) -> Callable[[], Tensor]:
    """The same, which calls `begun` whenever it reads."""
    if isinstance(read, FileTensor):
        return replace(read, begun=begun)

    def reads() -> Tensor:
        begun()
        return read()

    return reads


def own_memory(nbytes: int) -> Tensor:
    """Memory for values that are read, uint8 [nbytes], from a multiple of 64 bytes on.

    In pages of the usual size: in huge ones a gigabyte was read in a third of the time where the
    system had them at hand, and in three times where a virtual machine asked its host for them.
    """
    import torch

    return torch.empty(nbytes, dtype=torch.uint8)
