"""Tensors that lie one after the other and are read as one, or as much of them as is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Read = Callable[[], "Tensor"]


@dataclass(frozen=True)
class Pieces:
    """Makes one tensor of several when it is called.

    Args:
        reads: make the pieces, in order.
        lengths: of each along `dim`.
        dim: which they are joined along.
    """

    reads: tuple[Read, ...]
    lengths: tuple[int, ...]
    dim: int = 0

    def __call__(self) -> Tensor:
        import torch

        first = self.reads[0]()
        if len(self.reads) == 1:
            return first
        shape = list(first.shape)
        shape[self.dim] = sum(self.lengths)
        whole, at = torch.empty(shape, dtype=first.dtype), 0
        for number, length in enumerate(self.lengths):  # one after the other: some are computed
            whole.narrow(self.dim, at, length).copy_(self.reads[number]() if number else first)
            at += length
        return whole

    def narrow(self, dim: int, start: int, length: int) -> Tensor:
        """`length` of the whole along `dim`; pieces that lie outside are not read."""
        if dim != self.dim:
            reads = tuple(partial(narrow, read, dim, start, length) for read in self.reads)
            return Pieces(reads, self.lengths, self.dim)()
        found, lengths, at = [], [], 0
        for read, held in zip(self.reads, self.lengths, strict=True):
            first, last = max(start, at), min(start + length, at + held)
            if first < last:
                found.append(partial(narrow, read, dim, first - at, last - first))
                lengths.append(last - first)
            at += held
        return Pieces(tuple(found), tuple(lengths), dim)()


def narrow(read: Read, dim: int, start: int, length: int) -> Tensor:
    """A part of what `read` makes, along one dimension; a view where that is no `Pieces`."""
    if isinstance(read, Pieces):
        return read.narrow(dim, start, length)
    return read().narrow(dim, start, length)
