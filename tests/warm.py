"""A process that has loaded what the commands import, and runs each in a copy of itself.

So a command takes as long as its own work, is measured without its imports, and can be killed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Ended:
    """What became of a command.

    Args:
        code: its exit code; None where a signal ended it.
        what, where, fix: of the error that it ended with; empty without.
        said: what it wrote to stderr.
        reached: whether the call came at which something was to happen.
        cpu: seconds of the processor.
        peak: bytes of memory above what the process had before.
    """

    code: int | None
    what: str
    where: str
    cpu: float
    peak: int
    fix: str = ""
    said: str = ""
    reached: bool = False


class Warm:
    """The process, see `warm`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def load(self, *arguments: str) -> Ended:
        """Run a command in the process itself, which then has what it imports."""
        self._ask({"arguments": arguments, "here": True})
        return self._ended()

    def start(self, *arguments: str, **bounds: Any) -> int:
        """Begin a command in a copy; gives its process id.

        Args:
            bounds: `memory`, more bytes of data than the process has; `file_size`, bytes;
                `fault`, what happens at one of its system calls, see `tests.faults.shim`.
        """
        self._ask({"arguments": arguments, **bounds})
        self._pid: int = self._answer()["pid"]
        return self._pid

    def wait(self) -> Ended:
        """Wait for the command that was begun."""
        self._ask({"wait": self._pid})
        return self._ended()

    def _ended(self) -> Ended:
        found = self._answer()
        error = found.get("error") or {}
        return Ended(
            found.get("code"),
            error.get("what", ""),
            error.get("where") or "",
            found.get("cpu", 0.0),
            found.get("peak", 0),
            error.get("fix") or "",
            found.get("said", ""),
            found.get("reached", False),
        )

    def run(self, *arguments: str, **bounds: Any) -> Ended:
        """Run a command in a copy."""
        self.start(*arguments, **bounds)
        return self.wait()

    def _ask(self, job: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the process ended with {self.process.wait()}"
        found: dict[str, Any] = json.loads(line)
        return found


@contextmanager
def warm(folder: Path, before: Sequence[str] = (), preload: Path | None = None) -> Iterator[Warm]:
    """Start the process and end it after the block.

    Args:
        folder: where it works, and puts what it calls temporary.
        before: words in front of its command line, such as `unshare` and its options.
        preload: a library that stands before all others.
    """
    process = subprocess.Popen(
        [*before, sys.executable, "-m", "tests.warm_child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(folder),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",  # threads do not outlive the fork
            "TOKENIZERS_PARALLELISM": "false",
            **({} if preload is None else {"LD_PRELOAD": str(preload)}),
        },
    )
    try:
        yield Warm(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
