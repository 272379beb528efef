"""Files of weights on the disk: mapped to be read, written whole or not at all."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfcli.checkpoints.io.sink import Sink
from tfcli.errors import WorkError
from tfcli.files import beside, remember_digest
from tfcli.units import format_bytes

# torch warns once of maps that are not writable. That they are is said where they are opened.
warnings.filterwarnings("ignore", "The given buffer is not writable", UserWarning)

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def map_file(path: Path, end: int, *, writable: bool = True) -> mmap.mmap:
    """Map a file so that its pages come from the page cache as they are touched.

    Args:
        path: the file.
        end: how many bytes it must have, in bytes.
        writable: what is written to the map stays in this process. Linux counts such a map against
            a limit on the process's data (`ulimit -d`), whole, also before anything is written; one
            that is not writable takes nothing, and a write to it ends the process.

    Raises:
        WorkError: it cannot be mapped, or became shorter than `end`.
    """
    access = mmap.ACCESS_COPY if writable else mmap.ACCESS_READ
    try:
        with path.open("rb") as file:
            found = mmap.mmap(file.fileno(), 0, access=access)
    except (OSError, ValueError) as error:
        # An empty file cannot be mapped, which is a ValueError.
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise WorkError(f"cannot be mapped into memory: {reason}", where=str(path)) from error
    if len(found) < end:
        raise WorkError("the file became shorter while it was open", where=str(path))
    return found


def read_ahead(mapped: mmap.mmap, start: int, nbytes: int) -> None:
    """Ask the kernel to read a range of a map in large pieces, without waiting for it.

    Tensors that are not in the page cache arrive in about 60% of the time that page faults take;
    for those that are, it costs 0.2 ms in 32 MB. By tensor and not by file, so that streaming
    through a checkpoint larger than memory does not evict what comes next.
    """
    page = start % mmap.PAGESIZE
    mapped.madvise(mmap.MADV_WILLNEED, start - page, nbytes + page)


@contextmanager
def whole_file(path: Path, size: int) -> Iterator[Sink]:
    """What `path` is written through: the file takes its name when it is whole and synced.

    Args:
        path: the file; replaced in one step when it exists.
        size: the bytes that it is going to have; they must fit on the disk.

    Raises:
        WorkError: no room on the disk, or the file cannot be written. Nothing is left behind.
    """
    temporary = beside(path)
    try:
        require_space(path.parent, size)
        with temporary.open("xb", buffering=0) as file:
            sink = Sink(file.fileno())
            try:
                yield sink
                digest = sink.finish()
            finally:
                sink.close()
            os.fsync(file.fileno())
        temporary.replace(path)
        remember_digest(path, digest)
    except OSError as error:
        raise WorkError(
            f"cannot be written: {error.strerror}",
            where=str(path),
            fix=f"make room: the file takes {format_bytes(size)}" if error.errno in _FULL else None,
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def require_space(folder: Path, nbytes: int) -> None:
    """Refuse to begin a write of `nbytes` that the disk of `folder` cannot hold.

    Raises:
        WorkError: too little room.
    """
    free = shutil.disk_usage(folder).free
    if nbytes > free:
        raise WorkError(
            f"the disk has room for {format_bytes(free)}, the files take {format_bytes(nbytes)}",
            where=str(folder),
            fix="make room, or write to another disk",
        )
