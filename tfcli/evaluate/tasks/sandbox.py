"""Programs that a model wrote, run in a process of their own within limits.

The process has no environment, an empty folder that is deleted, no more than its time and memory,
and may neither start others nor write a large file. It is no wall against a program that attacks
the machine: whoever measures code that strangers' models write does so in a container.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress

from tfcli.errors import UsageError

_LIMITED = """
import os, resource, sys
seconds, memory = int(sys.argv[1]), int(sys.argv[2])
for kind, most in (
    (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, memory), (resource.RLIMIT_CORE, 0),
    (resource.RLIMIT_FSIZE, 1 << 20), (resource.RLIMIT_NPROC, 0), (resource.RLIMIT_NOFILE, 16),
):
    resource.setrlimit(kind, (most, most))
secret, source = sys.stdin.readline().encode(), sys.stdin.read()
del sys.argv[1:]
said = os.dup(1)
os.dup2(os.open(os.devnull, os.O_RDWR), 1)
os.dup2(1, 0)
exec(compile(source, "answer", "exec"), {"__name__": "__main__"})
os.write(said, secret)
"""


def passes(program: str, seconds: float, memory: int) -> bool:
    """Whether a program ends by itself, without an error, within its limits.

    Args:
        seconds: by the clock, and of processor time.
        memory: bytes of addresses.

    Raises:
        UsageError: a system without limits for processes.
    """
    if os.name != "posix":
        raise UsageError("programs are run on systems with limits for processes", where="pass_at_k")
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LIMITED, str(max(1, round(seconds))), str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={},
            start_new_session=True,
        )
        # A program that ends itself early has passed no test: only its last line says this word.
        secret = f"{secrets.token_hex()}\n".encode()
        try:
            source = program.encode("utf-8", "replace")
            said, _ = process.communicate(secret + source, timeout=seconds)
        except subprocess.TimeoutExpired:
            return False
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return process.returncode == 0 and said == secret
