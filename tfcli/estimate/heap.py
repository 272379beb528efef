"""What a process of the C library's allocator takes for tensors: more than they hold together.

glibc before 2.38 makes an aligned block by taking a larger one and giving back both ends, so that
the hole of a freed tensor is a little too small for the next one of its size. While a graph is made
for a backward pass, its nodes take what is given back, and keep neighbouring holes from being
joined. Training frees and makes tensors of the same few sizes, and its heap grows by a tenth to a
half of what is in it. This is that heap, played through: best fit, the top, large blocks mapped by
themselves.
"""

from __future__ import annotations

import platform
from bisect import bisect_left, insort

from tfcli.checkpoints.io.memory import KEPT, LARGEST

_STEP = 64  # bytes: torch asks for such places
_EXTRA = _STEP + 32  # bytes that are taken beside a block, and given back
_SMALL = 1 << 10  # bytes: smaller ones come from lists of their own, and are no matter
_PAGE = 1 << 12

Block = tuple[int, int]
"""Where a block begins and its size; -1 where it is mapped by itself."""


class Heap:
    """A heap that grows from nothing.

    Args:
        reuses: a hole serves for the next block of its size, and neighbours are joined.

    Attributes:
        peak: the most bytes that the system had given and not got back.
    """

    def __init__(self, *, reuses: bool = False) -> None:
        self.peak = self._top = self._end = self._mapped = 0
        self._reuses = reuses
        self._free: list[tuple[int, int]] = []  # (size, start), smallest first
        self._starts: dict[int, int] = {}  # of holes, start -> end
        self._ends: dict[int, int] = {}  # end -> start
        self._graph = False
        self._apart: set[int] = set()  # places that nothing is joined across

    @property
    def size(self) -> int:
        """Bytes that the system has given and not got back."""
        return self._end + self._mapped

    def take(self, size: int) -> Block:
        """A block of so many bytes."""
        if size < _SMALL:
            return -1, 0
        if size >= LARGEST:
            size = -(-size // _PAGE) * _PAGE
            self._mapped += size
            self.peak = max(self.peak, self.size)
            return -1, size
        size = -(-size // _STEP) * _STEP + _STEP
        place = bisect_left(self._free, (size + (0 if self._reuses else _EXTRA), -1))
        if place < len(self._free):
            room, start = self._free[place]
            self._drop(start, start + room)
            self._keep(start + size, start + room)
        else:
            start = self._top
            self._top += size
            self._end = max(self._end, self._top)
            self.peak = max(self.peak, self.size)
        if self._graph:
            self._apart.add(start)
        return start, size

    def give(self, block: Block) -> None:
        """Give back what `take` gave."""
        start, size = block
        if start < 0:
            self._mapped -= size
            return
        end = start + size
        if start in self._ends and start not in self._apart:
            begin = self._ends[start]
            self._drop(begin, start)
            start = begin
        if end in self._starts and end not in self._apart:
            last = self._starts[end]
            self._drop(end, last)
            end = last
        if end < self._top:
            self._keep(start, end)
            return
        self._top = start
        self._apart.discard(start)
        if self._end - self._top > KEPT:
            self._end = self._top

    def begin_graph(self) -> None:
        """A forward pass begins that keeps what its backward pass needs."""
        self._graph = not self._reuses

    def end_graph(self) -> None:
        """The backward pass begins: its nodes go, one after the other."""
        self._graph = False
        self._apart.clear()
        holes = sorted(self._starts.items())
        self._free, self._starts, self._ends = [], {}, {}
        start = end = -1
        for begin, last in [*holes, (self._top, self._top)]:
            if begin == end:
                end = last
                continue
            self._keep(start, end)
            start, end = begin, last
        self._top = start  # a hole below the top is a part of it

    def _keep(self, start: int, end: int) -> None:
        if end > start:
            insort(self._free, (end - start, start))
            self._starts[start], self._ends[end] = end, start

    def _drop(self, start: int, end: int) -> None:
        del self._free[bisect_left(self._free, (end - start, start))]
        del self._starts[start], self._ends[end]


def heap_here() -> Heap:
    """A heap like this machine's."""
    name, version = platform.libc_ver()
    numbers = tuple(int(part) for part in version.split(".") if part.isdecimal())
    return Heap(reuses=name != "glibc" or numbers >= (2, 38))
