"""What a verb gets besides its spec."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tfcli.console import Console


@dataclass(frozen=True)
class Job:
    """One running step.

    Args:
        console: where progress and notes go.
        folder: a private folder for what the step makes. It gets its final name when the step is
            done. None when the spec names no output.
    """

    console: Console = field(default_factory=Console.silent)
    folder: Path | None = None

    @property
    def output(self) -> Path:
        """The folder, for verbs whose spec always names an output."""
        assert self.folder is not None, "the spec of this verb requires an output"
        return self.folder
