"""Tensors that lie one after the other and are read as one, or as much of them as is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from tfcli.checkpoints.io.file_tensor import FileTensor

if TYPE_CHECKING:
    from torch import Tensor

    from tfcli.checkpoints.checkpoint import TensorEntry

Read = Callable[[], "Tensor"]
_PART = 1 << 23  # bytes of a tensor in a file that are read at once, at most


@runtime_checkable
class Narrows(Protocol):
    """A `Read` that makes a part without making the whole."""

    def narrow(self, dim: int, start: int, length: int) -> Tensor:
        """`length` of the whole along `dim`."""


@dataclass(frozen=True)
class Pieces:
    """Makes one tensor of several when it is called.

    Args:
        reads: make the pieces, in order, all of one type.
        lengths: of each along `dim`.
        dim: which they are joined along.
    """

    reads: tuple[Read, ...]
    lengths: tuple[int, ...]
    dim: int = 0

    def __call__(self) -> Tensor:
        one = self.reads[0]()
        if len(self.reads) == 1:
            return one
        shape = list(one.shape)
        shape[self.dim] = sum(self.lengths)
        whole, at = one.new_empty(shape), 0
        for number, length in enumerate(self.lengths):
            one = self.reads[number]() if number else one
            whole.narrow(self.dim, at, length).copy_(one)
            at += length
            del one  # some are computed: never two beside the whole
        return whole

    def narrow(self, dim: int, start: int, length: int) -> Tensor:
        """`length` of the whole along `dim`; pieces that lie outside are not read."""
        if dim != self.dim:
            reads = tuple(part_of(read, dim, start, length) for read in self.reads)
            return Pieces(reads, self.lengths, self.dim)()
        found, lengths, at = [], [], 0
        for read, held in zip(self.reads, self.lengths, strict=True):
            first, last = max(start, at), min(start + length, at + held)
            if first < last:
                found.append(part_of(read, dim, first - at, last - first))
                lengths.append(last - first)
            at += held
        return Pieces(tuple(found), tuple(lengths), dim)()


def narrow(read: Read, dim: int, start: int, length: int) -> Tensor:
    """A part of what `read` makes, along one dimension; no more is made where that can be told."""
    if isinstance(read, Narrows):
        return read.narrow(dim, start, length)
    return read().narrow(dim, start, length)


def part_of(read: Read, dim: int, start: int, length: int) -> Read:
    """What makes a part along one dimension; nothing is read yet."""
    if dim == 0 and isinstance(read, FileTensor):
        return read.rows(start, start + length)
    return partial(narrow, read, dim, start, length)


def entry_of(read: Read, number: int) -> Read:
    """What makes one entry of the first dimension; nothing is read yet."""
    if isinstance(read, FileTensor):
        return read.select(number)
    return lambda: narrow(read, 0, number, 1).squeeze(0)


def in_turn(tensor: TensorEntry) -> Iterator[Tensor]:
    """The values of a tensor in parts of whole rows, one after the other."""
    for read, _ in _by_rows(tensor):
        yield read()


def largest_part(tensor: TensorEntry) -> int:
    """The bytes of the largest part that `in_turn` gives."""
    lengths = [length for _, length in _by_rows(tensor)]
    return tensor.nbytes * max(lengths) // max(sum(lengths), 1)


def _by_rows(tensor: TensorEntry) -> Iterator[tuple[Read, int]]:
    """What makes each part, and how long it is along the first dimension."""
    read = tensor.read
    if len(tensor.shape) > 1 and isinstance(read, Pieces) and read.dim == 0:
        yield from zip(read.reads, read.lengths, strict=True)
    elif len(tensor.shape) > 1 and isinstance(read, FileTensor) and read.nbytes > _PART:
        rows = max(_PART * len(read) // read.nbytes, 1)
        for first in range(0, len(read), rows):
            last = min(first + rows, len(read))
            yield read.rows(first, last), last - first
    else:
        yield read, 1
