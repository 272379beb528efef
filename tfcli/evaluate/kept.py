"""Answers that a model has given on this machine, by the content of what it was asked.

They lie in the user's cache, a file for each model and way of running it, a line an answer. So a
run that was interrupted goes on behind its last answer, and another task that asks the same costs
nothing. A line is written at once; one that is not whole is passed over.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfcli.digest_cache import own_folder
from tfcli.process_group import ALONE, Processes


@dataclass
class Kept:
    """The answers of one model, run in one way.

    Args:
        path: the file; None: nothing is kept beyond this process.
        processes: those that share the work: the first one's file counts for all.
    """

    path: Path | None = None
    processes: Processes = ALONE
    _known: dict[str, Any] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        found = _read(self.path) if self.path is not None and self.processes.first else {}
        for part in self.processes.gathered([found]):
            self._known |= part

    @classmethod
    def of(cls, processes: Processes, **identity: Any) -> Kept:
        """What is kept under all that answers depend on besides the question."""
        folder = own_folder()
        if folder is None:
            return cls(None, processes)
        name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return cls(folder / "answers" / f"{name}.jsonl", processes)

    @staticmethod
    def key(*question: Any) -> str:
        """What stands for a question."""
        return hashlib.sha256(repr(question).encode()).hexdigest()

    def known(self, keys: Sequence[str]) -> dict[str, Any]:
        """The answers among these that are there."""
        return {key: self._known[key] for key in keys if key in self._known}

    def keep(self, answers: Mapping[str, Any]) -> Mapping[str, Any]:
        """Keep answers, and give them back."""
        self._known |= answers
        if self.path is None or not self.processes.first:
            return answers
        lines = "".join(f"{json.dumps([key, value])}\n" for key, value in answers.items())
        # Answers that cannot be kept cost time and nothing else.
        with suppress(OSError):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            descriptor = os.open(self.path, flags, 0o600)
            try:
                os.write(descriptor, lines.encode())
            finally:
                os.close(descriptor)
        return answers


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with suppress(OSError):
        for line in path.read_bytes().splitlines():
            with suppress(ValueError):
                key, value = json.loads(line)
                found[key] = value
    return found
