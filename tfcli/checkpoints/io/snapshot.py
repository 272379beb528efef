"""Whether files stay as they are while they are read, which takes long for large ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tfcli.checkpoints.io.truncation import truncation_refused
from tfcli.errors import WorkError

_FIX = "let what writes the file finish, or copy it first, and run it again"


@dataclass(frozen=True)
class Snapshot:
    """What files were at one moment.

    Args:
        files: each path, and the device, inode, size in bytes and time of last change (ns) of the
            file that it led to.
    """

    files: dict[Path, tuple[int, int, int, int]]

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Snapshot:
        """Remember what the files are now.

        Raises:
            WorkError: one is missing or cannot be looked at; names it.
        """
        return cls({path: _identity(path, "cannot be read") for path in paths})

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Do something with the files, and refuse it when they changed meanwhile.

        Where the work itself fails, a change is named as the reason. A file that is mapped and
        becomes shorter does not end the process.

        Raises:
            WorkError: as `require_unchanged`.
        """
        try:
            with truncation_refused():
                yield
        except Exception:
            self.require_unchanged()
            raise
        self.require_unchanged()

    def require_unchanged(self) -> None:
        """Compare the files with what they are now.

        A change that keeps the size and sets the time back is not seen.

        Raises:
            WorkError: one was written to, cut, replaced or removed; names it.
        """
        for path, before in self.files.items():
            if _identity(path, "changed while it was read") != before:
                raise WorkError("changed while it was read", where=str(path), fix=_FIX)


def _identity(path: Path, problem: str) -> tuple[int, int, int, int]:
    try:
        stat = path.stat()
    except OSError as error:
        raise WorkError(f"{problem}: {error.strerror}", where=str(path), fix=_FIX) from error
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
