"""Names of folders that change in one step, with the system's own calls where it has them."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

_HERE = -100  # AT_FDCWD of Linux
_EXCHANGE, _NEW = (2, 4) if sys.platform == "darwin" else (2, 1)
# What kernels, file systems and filters of system calls answer that do not know the call.
_UNKNOWN = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM)


def exchange(one: Path, other: Path) -> bool:
    """Let two folders change their names in one step, so that neither name is ever without one.

    Returns:
        False where the system or the file system cannot; nothing is changed then.

    Raises:
        OSError: as `os.rename`.
    """
    return _rename(one, other, _EXCHANGE)


def rename_new(source: Path, target: Path) -> None:
    """Rename a folder to a name that is free.

    Raises:
        OSError: as `os.rename`; the name is taken.
    """
    if not _rename(source, target, _NEW):
        source.rename(target)  # of a folder, this replaces nothing but an empty folder


def _rename(source: Path, target: Path, how: int) -> bool:
    names = os.fsencode(source), os.fsencode(target)
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "darwin":
        call = libc.renamex_np
        failed = call(*names, how)
    else:
        call = getattr(libc, "renameat2", None)  # glibc has it since 2.28
        if call is None:
            return False
        failed = call(_HERE, names[0], _HERE, names[1], how)
    if not failed:
        return True
    code = ctypes.get_errno()
    if code in _UNKNOWN:
        return False
    raise OSError(code, os.strerror(code), str(source), None, str(target))
