"""What a verb gets besides its spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from tfcli.console import Console


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
    """

    console: Console = field(default_factory=Console.silent)
    folder: Path | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    out: TextIO | None = None

    @property
    def output(self) -> Path:
        """The folder, for verbs whose spec always names an output."""
        assert self.folder is not None, "the spec of this verb requires an output"
        return self.folder
