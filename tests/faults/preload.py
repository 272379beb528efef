"""Something happens at one system call of a command. See shim.c."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

KILL, STOP = -1, -2
ERRORS = ("ENOSPC", "EIO", "EACCES", "EDQUOT", "ENOLCK", "EROFS")


@dataclass(frozen=True)
class Fault:
    """What happens.

    Args:
        folder: calls count that concern something below it.
        at: the first is 1.
        action: KILL, STOP, or the number of the error that the call ends with.
        lasting: whether all later calls end so as well.
        lacks: the error that the system answers to an exchange of names; 0 where it has that.
        alone: whether no thread can be started.
    """

    folder: str
    at: int
    action: int = KILL
    lasting: bool = False
    lacks: int = 0
    alone: bool = False

    def as_job(self) -> dict[str, object]:
        """For `Warm.start`."""
        return asdict(self)


def build(folder: Path) -> Path:
    """Compile the library; skips the test where there is no compiler or no preloading."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or os.uname().sysname != "Linux":
        pytest.skip("faults at system calls need Linux and a C compiler")
    library = folder / "faults.so"
    source = Path(__file__).with_name("shim.c")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return library


def number(name: str) -> int:
    """The number of an error."""
    found: int = getattr(errno, name)
    return found
