"""A file that is read piece by piece, and must stay meanwhile what it was when it was opened.

Bytes are copied into memory of this process and never read from a map: that of a file that becomes
shorter ends the process without a word, and that of a file that is written over gives a part of
each version. Every read looks at the file before and after, so what comes out of several reads is
of one version, the one that was opened.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tfcli.checkpoints.io.pin import Pin
from tfcli.digest_cache import identity_of
from tfcli.errors import WorkError

_FIX = "let what writes the file finish, or copy it first, and run it again"
_PIECE = 4 << 20  # bytes that a thread reads at once
_READERS = min(4, os.cpu_count() or 1)
_FLAGS = os.O_RDONLY | os.O_NONBLOCK  # to open a pipe would wait for ever


class OpenedFile:
    """A regular file, opened for reading.

    No descriptor is kept, for a checkpoint may have more files than a process may open. The path
    must lead to the same file each time, whose number a `Pin` keeps from being given to another.

    Args:
        path: the file.

    Attributes:
        size: in bytes.

    Raises:
        WorkError: it is missing, no file, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            descriptor = os.open(path, _FLAGS)
        except FileNotFoundError:
            raise WorkError("the file is missing", where=str(path)) from None
        except OSError as error:
            raise _unreadable(path, error) from error
        try:
            found = os.fstat(descriptor)
            self._pin = Pin(descriptor)
        finally:
            os.close(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise WorkError("not a file", where=str(path))
        self.size = found.st_size
        self._version = identity_of(found).version

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """Read some of the file, and refuse what was read where the file changed.

        A change that keeps the size and sets the time back is not seen.
        Where the block itself fails, a change is named as the reason.

        Raises:
            WorkError: it was written to, cut, replaced or removed, or cannot be read; names it.
        """
        try:
            descriptor = os.open(self.path, _FLAGS)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise changed(self.path, error) from error
        except OSError as error:
            raise _unreadable(self.path, error) from error
        try:
            self._require(descriptor)
            try:
                yield Reader(descriptor, self.path, self.size)
            except Exception:
                self._require(descriptor)
                raise
            self._require(descriptor)
        finally:
            os.close(descriptor)

    def _require(self, descriptor: int) -> None:
        if identity_of(os.fstat(descriptor)).version != self._version:
            raise changed(self.path)


class Reader:
    """The bytes of an opened file.

    Attributes:
        size: of the file, in bytes.
    """

    def __init__(self, descriptor: int, path: Path, size: int) -> None:
        self.size = size
        self._descriptor, self._path = descriptor, path

    def bytes(self, start: int, count: int) -> bytes:
        """`count` bytes from the place `start` on; fewer where the file ends.

        Raises:
            WorkError: it cannot be read.
        """
        try:
            return os.pread(self._descriptor, count, start)
        except OSError as error:
            raise _unreadable(self._path, error) from error

    def into(self, start: int, memory: memoryview) -> None:
        """Fill `memory`, of bytes, with those from the place `start` on.

        Other threads of the process go on meanwhile. Much is read by several at once: the system
        takes longer to give new memory its pages than to copy, and does it for each thread.

        Raises:
            WorkError: the file became shorter, or cannot be read.
        """
        if memory.nbytes < 2 * _PIECE:
            self._fill(start, memory)
            return
        with ThreadPoolExecutor(_READERS) as pool:
            places = range(0, memory.nbytes, _PIECE)
            for _ in pool.map(lambda at: self._fill(start + at, memory[at : at + _PIECE]), places):
                pass  # an error of a thread is raised here

    def _fill(self, start: int, memory: memoryview) -> None:
        at = 0
        while at < memory.nbytes:  # one call moves at most 2 GiB on Linux
            try:
                count = os.preadv(self._descriptor, [memory[at:]], start + at)
            except OSError as error:
                raise _unreadable(self._path, error) from error
            if not count:
                raise changed(self._path)
            at += count


def changed(path: Path, error: OSError | None = None) -> WorkError:
    """The error that a file became another one while it was read.

    Args:
        path: the file.
        error: why it is not there any more.
    """
    what = "changed while it was read" + ("" if error is None else f": {error.strerror}")
    return WorkError(what, where=str(path), fix=_FIX)


def _unreadable(path: Path, error: OSError) -> WorkError:
    return WorkError(f"cannot be read: {error.strerror}", where=str(path))
