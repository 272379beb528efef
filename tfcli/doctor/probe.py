"""Runs checks in a process of their own, so that one that crashes or hangs takes nothing along.

The checks share one process, because importing torch is most of their cost. After a crash or a
time-out a new process goes on with the checks that are left.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import IO, Any


@dataclass(frozen=True)
class Answer:
    """How one check ended: with a value, or with an error and perhaps a way out."""

    value: Any = None
    error: str | None = None
    fix: str | None = None
    seconds: float = 0.0


def probe(tasks: Sequence[tuple[str, float]]) -> Iterator[Answer]:
    """Run functions in another process and yield one answer each, in order.

    Args:
        tasks: pairs of `module:function` and the seconds that the function may take. A function
            takes nothing and returns what JSON can hold.
    """
    left = list(tasks)
    while left:
        for answer in _run_until_lost(left):
            left.pop(0)
            yield answer


def _run_until_lost(tasks: list[tuple[str, float]]) -> Iterator[Answer]:
    """Answers up to the first check that takes the process down, that one included."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        worker = _start([reference for reference, _ in tasks], log)
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_read, args=(worker.stdout, lines), daemon=True).start()
        try:
            for _, limit in list(tasks):
                began = perf_counter()
                try:
                    line = lines.get(timeout=limit)
                except queue.Empty:
                    yield Answer(error=f"no answer after {limit:g} s", seconds=limit)
                    return
                seconds = round(perf_counter() - began, 3)
                if line is None:
                    yield Answer(error=_cause_of_death(worker, log), seconds=seconds)
                    return
                yield Answer(**json.loads(line), seconds=seconds)
        finally:
            _end(worker)


def _start(references: list[str], log: IO[str]) -> subprocess.Popen[str]:
    # -P and the parent's own path: a file named torch.py in the user's folder must not be imported.
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "tfcli.doctor.worker", *references],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,  # compilers that a hung check has started end with it
    )


def _read(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _end(worker: subprocess.Popen[str]) -> None:
    try:
        os.killpg(worker.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        worker.kill()  # the group is gone already; a process that has ended is left alone
    worker.wait()


def _cause_of_death(worker: subprocess.Popen[str], log: IO[str]) -> str:
    code = worker.wait()
    log.seek(0)
    said = [line.strip() for line in log if line.strip()]
    cause = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
    return f"{cause}: {said[-1]}" if said else cause
