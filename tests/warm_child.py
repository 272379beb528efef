"""Runs commands, each in a copy of this process that has loaded what they need. See `tests.warm`.

Reads a JSON object from each line of stdin and answers each with a line. One with `arguments`
begins a command and is answered with the process's `pid`; `wait` is answered with what became of
it. Until then the process keeps its id, also when it has ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import io
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tfcli.commands.app import run

HANGS = 60  # seconds until a command that waits for something is ended


def main() -> None:
    """Answer until stdin ends."""
    for line in sys.stdin:
        job = json.loads(line)
        if job.get("here"):
            answer(_work(job["arguments"]))
            gc.collect()
            gc.freeze()  # what is there now is not looked through again in each copy
            continue
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            found = _bounded(job)
            with os.fdopen(writing, "w") as pipe:
                json.dump(found, pipe)
            gc.collect()  # temporary folders go with the objects that hold them, as at an exit
            os._exit(0)
        os.close(writing)
        answer({"pid": child})
        assert json.loads(sys.stdin.readline())["wait"] == child
        with os.fdopen(reading) as pipe:
            text = pipe.read()
        _, status = os.waitpid(child, 0)
        answer(json.loads(text) if text else {"signal": os.WTERMSIG(status)})


def answer(value: dict[str, Any]) -> None:
    """A line for whoever asked."""
    print(json.dumps(value), file=sys.__stdout__, flush=True)  # whatever the command redirected


def _bounded(job: dict[str, Any]) -> dict[str, Any]:
    signal.alarm(HANGS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    before = _status("VmRSS")
    if job.get("memory"):
        limit = _status("VmData") + job["memory"]
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    if job.get("file_size"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["file_size"], job["file_size"]))
    if job.get("fault"):
        sys.dont_write_bytecode = True
        fault = job["fault"]
        arm = ctypes.CDLL(None).faults_arm
        arm(os.fsencode(fault.pop("folder")), *(ctypes.c_long(v) for v in fault.values()))
    found = {**_work(job["arguments"]), "peak": _status("VmHWM") - before}
    if job.get("fault"):
        found["reached"] = bool(ctypes.CDLL(None).faults_reached())
    return found


def _work(arguments: list[str]) -> dict[str, Any]:
    out, err = io.StringIO(), io.StringIO()
    begun = time.process_time()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([*arguments, "--json"])
    error = json.loads(out.getvalue())["error"] if code else None
    cpu = time.process_time() - begun
    return {"code": code, "error": error, "cpu": cpu, "said": err.getvalue()}


def _status(name: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.partition(f"{name}:")[2].split()[0]) * 1024


if __name__ == "__main__":
    main()
