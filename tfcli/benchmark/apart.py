"""Starts the process that measures one case, and reads its answer."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

from tfcli.benchmark.task import Answer, Task
from tfcli.errors import WorkError


def measure_apart(task: Task) -> Answer:
    """Run the worker and read its answer.

    Raises:
        WorkError: it failed, or was killed, as it is when memory runs out.
    """
    # -P: a file in the current folder must not stand in for a module of the worker.
    command = [sys.executable, "-P", "-m", "tfcli.benchmark.worker", json.dumps(asdict(task))]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        killed = done.returncode < 0
        said = f"stopped by signal {-done.returncode}" if killed else lines[-1]
        raise WorkError(
            f"measuring {task.case} of {task.side} failed: {said}",
            where=task.model,
            fix="it may need more memory than there is" if killed else None,
        )
    told = json.loads(done.stdout.splitlines()[-1])
    if "error" in told:
        error = told["error"]
        raise WorkError(error["what"], where=error["where"] or task.model, fix=error["fix"])
    return Answer.of(told["answer"])
