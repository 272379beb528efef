"""What a verb gets besides its spec."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from tfcli.console import Console


def _nothing(*names: str) -> None:
    """Nobody looks after the inputs of a job that no executor started."""


@dataclass(frozen=True)
class Job:
    """One running step.

    Args:
        console: where progress and notes go.
        folder: a private folder for what the step makes. It gets its final name when the step is
            done. None when the spec names no output.
        inputs: the hash or hub commit of each input, by its name in the spec.
        out: standard output, where a verb may write its text while it is made; None where that
            belongs to something else, such as a recipe or JSON.
        has_read: to be called with the names of inputs that are now in memory: what becomes of
            their files then is all the same. Without it they must stay as they are to the end.
    """

    console: Console = field(default_factory=Console.silent)
    folder: Path | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    out: TextIO | None = None
    has_read: Callable[..., None] = _nothing

    @property
    def output(self) -> Path:
        """The folder, for verbs whose spec always names an output."""
        assert self.folder is not None, "the spec of this verb requires an output"
        return self.folder
