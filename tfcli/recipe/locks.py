"""A folder is changed only by the process that holds its lock.

The lock is on the folder itself and not on its name: it goes along when the folder is renamed, and
the system takes it back when the process dies.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Lock:
    """The lock of one folder.

    Attributes:
        lacking: why there is none, where the file system has no locks; then nothing is kept out.
    """

    def __init__(self, descriptor: int, lacking: str | None) -> None:
        self._descriptor = descriptor
        self.lacking = lacking

    def is_on(self, folder: Path) -> bool:
        """Whether what is locked has this name."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), folder.lstat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Let others have it."""
        os.close(self._descriptor)


def lock(folder: Path) -> Lock | None:
    """Lock a folder; None where there is no such folder.

    Raises:
        BlockingIOError: another process holds it.
    """
    while True:
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        try:
            found = Lock(descriptor, _lock(descriptor))
            if found.is_on(folder):
                return found
        except BaseException:
            os.close(descriptor)
            raise
        found.release()  # it was renamed in between


def _lock(descriptor: int) -> str | None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        return error.strerror
    return None
