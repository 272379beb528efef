"""What the loop calls at fixed moments, and what may stop it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tfcli.train.checkpoint import Progress


class Callback:
    """One thing that a run does beside moving weights.

    All processes call every method at the same moments with the same values, so that a callback
    may work together with its twins; one that writes does so in the first process alone. What is
    not overridden does nothing.

    Class attributes:
        name: what its state is kept under.
    """

    name: ClassVar[str] = ""

    def begin(self, progress: Progress) -> None:
        """The loop begins, or goes on from `progress`."""

    def finished(self, figures: Mapping[str, Any], due: Collection[str]) -> None:
        """A step is finished, its validation too.

        Args:
            figures: what its line of metrics.jsonl says; None for what was not measured.
            due: what it is time for, by the names of `Loop.intervals`.
        """

    def stops(self) -> str | None:
        """Why the run is to end after this step; None lets it go on."""
        return None

    def checkpoint(self) -> None:
        """A checkpoint is about to be written."""

    def state(self) -> dict[str, Any]:
        """What a resumed run needs to go on exactly, as JSON holds it."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take what `state` gave."""

    def end(self) -> None:
        """The loop is left, also by an error."""


@dataclass(frozen=True)
class Callbacks:
    """All callbacks of a run, called in their order."""

    all: Sequence[Callback] = ()

    def begin(self, progress: Progress) -> None:
        """See `Callback`; each gets its own state back first."""
        for each in self.all:
            if each.name in progress.callbacks:
                each.restore(progress.callbacks[each.name])
            each.begin(progress)

    def finished(self, figures: Mapping[str, Any], due: Collection[str]) -> None:
        """See `Callback`."""
        for each in self.all:
            each.finished(figures, due)

    def stops(self) -> str | None:
        """The first reason that one of them has."""
        return next(filter(None, (each.stops() for each in self.all)), None)

    def checkpoint(self) -> None:
        """See `Callback`."""
        for each in self.all:
            each.checkpoint()

    def states(self) -> dict[str, Any]:
        """The state of each that has one, by name."""
        found = {each.name: each.state() for each in self.all}
        return {name: state for name, state in found.items() if state}

    def end(self) -> None:
        """See `Callback`."""
        for each in self.all:
            each.end()
