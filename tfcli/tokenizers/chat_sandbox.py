"""Chat templates are rendered in a worker process: started once, kept alive, ended by its limits.

A template comes with a checkpoint, so it is taken for hostile. It runs in jinja2's immutable
sandbox (`chat_worker`), and the process around it is the second wall: it has no environment, can
import the standard library and jinja2 alone, writes no file, and too much time or memory ends it.
"""

from __future__ import annotations

import atexit
import json
import marshal
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from tfcli.errors import WorkError
from tfcli.limits import CHAT_MEMORY, CHAT_SECONDS, CHAT_TEXT, CHAT_WALL
from tfcli.units import format_bytes

_WORKER = Path(__file__).with_name("chat_worker.py")
_KEPT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")  # what Python itself may need
_HEAD = struct.Struct("<QQ")  # as in the worker
_WIDEST = 4  # bytes of a character, at most
_SPAN = 40  # bytes of a marked part in an answer
_ROOM = 10_000  # bytes of what else an answer says
_DYING = 5  # seconds until a process that has closed its pipes is gone


@dataclass(frozen=True)
class Limits:
    """How much one rendering may use.

    Args:
        seconds: processor time, so that a busy machine refuses nothing.
        characters: of the result.
        memory: bytes, beside what the conversation itself takes.
        wall: seconds by the clock.
    """

    seconds: float = CHAT_SECONDS
    characters: int = CHAT_TEXT
    memory: int = CHAT_MEMORY
    wall: float = CHAT_WALL


class Sandbox:
    """One worker, started when it is first needed and again after it was ended.

    Threads take turns. After a fork, the child starts a worker of its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def render(
        self,
        template: str,
        values: Mapping[str, Any],
        now: datetime,
        limits: Limits,
        *,
        of_task: bool = False,
    ) -> tuple[str, list[tuple[int, int]] | None]:
        """The text of a template, and the places that it marks; None when it marks none.

        Args:
            of_task: it is an evaluation task's; see `chat_worker`.

        Raises:
            WorkError: a template that cannot be compiled, refuses, fails or takes too much.
        """
        request = {
            "template": template,
            "values": dict(values),
            "now": now.isoformat(),
            "characters": int(limits.characters),
            "seconds": float(limits.seconds),
            "wall": float(limits.wall),
            "memory": int(limits.memory),
            "of_task": of_task,
        }
        data = marshal.dumps(request)
        with self._lock:
            answer, text = self._ask(_HEAD.pack(len(data), 0) + data, limits)
        if "error" in answer:
            raise _error(answer, limits, "template" if of_task else "chat template")
        spans = answer["spans"]
        return text, spans and [(first, last) for first, last in spans]

    def close(self) -> None:
        """End the worker, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def forget(self) -> None:
        """Leave the worker to the process that started it."""
        self._lock = threading.Lock()
        self._process = None

    def _ask(self, data: bytes, limits: Limits) -> tuple[dict[str, Any], str]:
        process = self._process
        if process is None or process.poll() is not None:
            self.close()
            process = self._process = _start()
        assert process.stdin is not None and process.stdout is not None
        try:
            with _killed_after(process, limits.wall) as late:
                process.stdin.write(data)
                process.stdin.flush()
                answer, text = _read(process.stdout, limits)
        except (OSError, EOFError):  # a pipe without an end to read from: the worker is gone
            answer, text = _end_of(process, late.is_set()), ""
        except BaseException:  # an answer that nobody waits for must not be the next one's
            self.close()
            raise
        if answer.get("error") not in (None, *_OWN_FAULT):
            self.close()  # what is left of it is not to be relied on
        return answer, text


def _read(pipe: IO[bytes], limits: Limits) -> tuple[dict[str, Any], str]:
    """One answer: what it says, and the text.

    Raises:
        EOFError: there is none, or it is longer than the worker may make one.
    """
    head = pipe.read(_HEAD.size)
    size, length = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, 0)
    if not 0 < size <= _ROOM + _SPAN * limits.characters or length > _WIDEST * limits.characters:
        raise EOFError
    said, text = pipe.read(size), pipe.read(length)
    if len(said) + len(text) < size + length:
        raise EOFError
    return json.loads(said), text.decode("utf-8", "surrogatepass")


@contextmanager
def _killed_after(process: subprocess.Popen[bytes], seconds: float) -> Iterator[threading.Event]:
    """Kill a worker that cannot have a timer of its own; the event says that it was done."""
    late = threading.Event()
    if hasattr(signal, "setitimer"):
        yield late
        return

    def give_up() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, give_up)
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def _start() -> subprocess.Popen[bytes]:
    places: dict[str, None] = {}
    for name in ("jinja2", "markupsafe"):
        found = find_spec(name)
        if found is None or found.origin is None:
            raise WorkError(f"chat templates need the package {name}", fix=f"pip install {name}")
        places[str(Path(found.origin).parent.parent)] = None
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-W", "ignore", str(_WORKER), *places],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={name: os.environ[name] for name in _KEPT if name in os.environ},
        )
    except OSError as error:
        raise WorkError(f"no process for chat templates: {error.strerror}") from error


def _end_of(process: subprocess.Popen[bytes], late: bool) -> dict[str, Any]:
    """Why a worker gave no whole answer."""
    try:
        code = process.wait(timeout=_DYING)
    except subprocess.TimeoutExpired:
        return {"error": "ended", "said": "an answer that is none"}
    if late or code == -getattr(signal, "SIGALRM", 0):
        return {"error": "wall"}
    if code == -getattr(signal, "SIGPROF", 0):
        return {"error": "time"}
    if code == -getattr(signal, "SIGKILL", 0):  # not by us: the system had no memory left
        return {"error": "memory"}
    assert process.stderr is not None
    said = process.stderr.read(_ROOM).decode(errors="replace").strip().rpartition("\n")[2]
    return {"error": "ended", "said": f"code {code}{said and ': '}{said}"}


_OWN_FAULT = ("invalid", "refuses", "forbidden", "fails", "long")
"""Errors after which a worker is as good as before."""


def _error(answer: Mapping[str, Any], limits: Limits, name: str) -> WorkError:
    kind, said, line = answer["error"], answer.get("said"), answer.get("line")
    what = {
        "invalid": f"is not valid: {said}",
        "refuses": f"refuses these messages: {said}",
        "fails": f"fails: {said}",
        "forbidden": said,
        "deep": "calls itself too deep",
        "long": f"writes more than {limits.characters:,} characters",
        "memory": f"takes more than {format_bytes(limits.memory)} of memory",
        "time": f"takes longer than {limits.seconds:g} s of processor time",
        "wall": f"takes longer than {limits.wall:g} s",
        "ended": f"ended the process that it was rendered in, with {said}",
    }[kind]
    fixes = {
        "invalid": "get it again from the model's source",
        "refuses": None,
        "fails": "see whether the messages have what it asks for",
    }
    return WorkError(
        f"the {name} {what}",
        where=name if line is None else f"{name}, line {line}",
        fix=fixes.get(kind, "use a template from a source you trust"),
    )


SANDBOX = Sandbox()
"""The worker of this process."""
atexit.register(SANDBOX.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=SANDBOX.forget)
