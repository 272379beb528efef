"""Whether the files that work is made of stay as they are until it is done.

That all reads of one file are of one version, `OpenedFile` sees to. This is for the time between
the last read and the end of the work, whose result names the file, and for what was read by others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from tfcli.checkpoints.io.opened import changed
from tfcli.digest_cache import identity_of
from tfcli.errors import WorkError


@dataclass(frozen=True)
class Snapshot:
    """What files were at one moment.

    Args:
        files: each path, and the `version` of the file that it led to.
    """

    files: dict[Path, tuple[int, int, int, int]]

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Snapshot:
        """Remember what the files are now.

        Raises:
            WorkError: one is missing or cannot be looked at; names it.
        """
        found = {}
        for path in paths:
            try:
                found[path] = identity_of(path.stat()).version
            except OSError as error:
                raise WorkError(f"cannot be read: {error.strerror}", where=str(path)) from error
        return cls(found)

    def require_unchanged(self) -> None:
        """Compare the files with what they are now.

        A change that keeps the size and sets the time back is not seen.

        Raises:
            WorkError: one was written to, cut, replaced or removed; names it.
        """
        for path, before in self.files.items():
            try:
                now = identity_of(path.stat()).version
            except OSError as error:
                raise changed(path, error) from error
            if now != before:
                raise changed(path)


_KEPT: ContextVar[list[Snapshot] | None] = ContextVar("kept", default=None)


@contextmanager
def sources_kept() -> Iterator[None]:
    """Do some work, and refuse it when a file that it says is a source changed meanwhile.

    Where the work itself fails, a change is named as the reason.

    Raises:
        WorkError: as `Snapshot.require_unchanged`.
    """
    kept: list[Snapshot] = []
    token = _KEPT.set(kept)
    try:
        yield
    except Exception:
        _require(kept)
        raise
    finally:
        _KEPT.reset(token)
    _require(kept)


def is_source(paths: Iterable[Path]) -> None:
    """Say that files are read by the work that is being done, if any is inside `sources_kept`."""
    kept = _KEPT.get()
    if kept is not None:
        kept.append(Snapshot.of(paths))


def _require(kept: Iterable[Snapshot]) -> None:
    for snapshot in kept:
        snapshot.require_unchanged()
