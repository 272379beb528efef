"""What may happen to a file while something reads it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def rewritten(path: Path) -> None:
    """The same size, other values."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 64)


def truncated(path: Path) -> None:
    """Half of it is gone. The time is set back: the size tells."""
    time = path.stat().st_mtime_ns
    os.truncate(path, path.stat().st_size // 2)
    os.utime(path, ns=(time, time))


def replaced(path: Path) -> None:
    """Another file under the name, of the same size and time: the inode tells."""
    time = path.stat().st_mtime_ns
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(time, time))
    other.replace(path)


def removed(path: Path) -> None:
    """It is gone."""
    path.unlink()


CHANGES: list[Callable[[Path], None]] = [rewritten, truncated, replaced, removed]
