"""Files of weights that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfcli.checkpoints.io.sink import Sink
from tfcli.errors import WorkError
from tfcli.files import beside, remember_digest
from tfcli.units import format_bytes

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
