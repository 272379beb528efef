"""The beginning of a file, or of a part of it, as far as it was needed."""

from __future__ import annotations

from tfcli.checkpoints.io.opened import Reader

_STEP = 1 << 20  # bytes that are read at least


class Growing:
    """Bytes that are read as they are asked for, in order, and kept.

    For headers and pickles, which say only as they are read how long they are.

    Args:
        reader: of the file.
        start: where in it they begin.
        size: how many there are; None: all that follow.

    Attributes:
        held: those that were read so far, from the beginning on.
        size: how many there are.
    """

    def __init__(self, reader: Reader, start: int = 0, size: int | None = None) -> None:
        self._reader, self._start = reader, start
        self.size = max(reader.size - start, 0) if size is None else size
        self.held = bytearray()

    def need(self, end: int) -> None:
        """Hold the first `end` bytes, or all where there are fewer.

        Raises:
            WorkError: the file became shorter, or cannot be read.
        """
        held, end = len(self.held), min(end, self.size)
        if end <= held:
            return
        more = memoryview(bytearray(min(max(end - held, _STEP), self.size - held)))
        self._reader.into(self._start + held, more)
        self.held += more
