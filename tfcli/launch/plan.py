"""What every engine is told, in no engine's words."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

from tfcli.units import format_bytes

PORT = 29400
"""Where processes meet on the head node, torchrun's own."""
NODES_NAME = 40
"""The most letters of a name: engines put numbers behind it, and the whole has 63 at most."""


@dataclass(frozen=True)
class Plan:
    """A training on several machines.

    Args:
        recipe: its file, as the training finds it where it runs.
        name: of the job; see `job_name`.
        folder: where it runs on this file system; None where the engine has a folder of its own.
        nodes: machines.
        gpus: CUDA devices of each; 0 trains on the CPU.
        seconds: after which it is stopped; None for never.
        grace: seconds between being asked to stop and being killed.
        restarts: how often processes that fail are started again.
        parts: kind -> bytes in each process.
        memory: bytes in each process, on its device.
        host: bytes of main memory on each machine.
        versions: package -> version, of this machine.
        gpu: the engine's name of the device, or None.
        image: a container image, or None.
        storage: what survives the loss of a machine, by the engine's name, or None.
    """

    recipe: str
    name: str
    folder: str | None
    nodes: int
    gpus: int
    seconds: int | None
    grace: int
    restarts: int
    parts: Mapping[str, int]
    memory: int
    host: int
    versions: Mapping[str, str]
    gpu: str | None = None
    image: str | None = None
    storage: str | None = None

    @property
    def per_node(self) -> int:
        """Processes of each machine: one for each device, or one."""
        return max(1, self.gpus)

    @property
    def processes(self) -> int:
        """All processes."""
        return self.nodes * self.per_node

    @property
    def gigabytes(self) -> int:
        """Main memory of each machine, rounded up."""
        return -(-self.host // 10**9)

    def torchrun(self, head: str, first: str, output: str | None = None) -> str:
        """The command of each machine, a word a line.

        Args:
            head: shell words that give the head node's address.
            first: shell words that are 1 on the head node and 0 elsewhere.
            output: a folder in place of the recipe's own.
        """
        timed = [] if self.seconds is None else [f"timeout --signal=TERM {self.seconds}"]
        words = [
            *timed,
            "torchrun",
            f"--nnodes={self.nodes}",
            f"--nproc-per-node={self.per_node}",
            f"--max-restarts={self.restarts}",
            f"--shutdown-timeout={self.grace}",
            "--rdzv-backend=c10d",
            f"--rdzv-id={self.name}",
            f'--rdzv-endpoint="{head}:{PORT}"',
            f'--rdzv-conf="is_host={first}"',
            "-m tfcli.commands train",
            shlex.quote(self.recipe),
        ]
        if output is not None:
            words.append(f"--output={shlex.quote(output)}")
        return " \\\n  ".join(words)

    @property
    def environment(self) -> dict[str, str]:
        """Variables that the training runs with."""
        return {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "4" if self.gpus else ""}

    @property
    def exports(self) -> str:
        """The same as lines of a shell."""
        return "\n".join(f"export {k}={v}" for k, v in self.environment.items() if v)

    @property
    def requirements(self) -> str:
        """What pip is told, with the versions that are here."""
        packages = {name: found for name, found in self.versions.items() if name != "python"}
        return " ".join(shlex.quote(f"{name}=={found}") for name, found in packages.items())

    def comment(self, use: str) -> str:
        """The head of a file: what it starts, the memory, versions, and how it is used."""
        parts = ", ".join(f"{name} {format_bytes(size)}" for name, size in self.parts.items())
        place = "each GPU" if self.gpus else "each process"
        lines = [
            f"Trains {said(self.recipe)} with {self.processes} processes on {self.nodes} machines.",
            f"Memory of {place}, as tfcli estimate counts it: {format_bytes(self.memory)}",
            f"  ({parts}).",
            f"Versions: {', '.join(f'{name} {found}' for name, found in self.versions.items())}.",
            "A signal to stop lets the step end and writes a checkpoint; the next start goes on",
            "from there, also with another number of processes that divides the passes of a step.",
            use,
        ]
        wrapped = (textwrap.wrap(line, 96, subsequent_indent="  ") for line in lines)
        return "".join(f"# {each}\n" for line in wrapped for each in line)


def job_name(text: str) -> str:
    """A name that every engine takes, from any text: small letters, digits and dashes."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not plain[:1].isalpha():
        plain = f"train-{plain}".strip("-")
    return plain[:NODES_NAME].strip("-")


def said(text: str) -> str:
    """A text for a comment: nothing in it ends a line."""
    return text if text.isprintable() else repr(text)
