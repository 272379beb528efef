"""What a person sees of a run while it goes on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from tfcli.console import Bar
from tfcli.train.callbacks.callback import Callback
from tfcli.train.checkpoint import Progress

OpenBar = Callable[[], AbstractContextManager[Bar]]


class Shown(Callback):
    """A bar with the last figures.

    Args:
        bar: opens it; its length is that of the run.
        measure: how far a run is, in the bar's units.
        unit: what a target is, in one word.
    """

    def __init__(
        self, bar: OpenBar, measure: Callable[[Progress], float], unit: str = "token"
    ) -> None:
        self._open, self._measure, self._unit = bar, measure, unit
        self._stack = ExitStack()

    def begin(self, progress: Progress) -> None:
        """Show the bar, as far as the run is."""
        self._progress = progress
        self._bar = self._stack.enter_context(self._open())
        self._at = self._measure(progress)
        self._bar.advance(self._at)

    def finished(self, figures: Mapping[str, Any], due: Collection[str]) -> None:
        """Move the bar, and show the step's figures and the best so far."""
        best = self._progress.best
        self._bar.show(
            loss=f"{figures['loss']:.3f}",
            **{f"{self._unit}s/s": f"{figures['tokens_per_second']:,.0f}"},
            **({} if best is None else {"best validation": f"{best['val_loss']:.3f}"}),
        )
        now = self._measure(self._progress)
        self._bar.advance(now - self._at)
        self._at = now

    def end(self) -> None:
        """Take the bar away."""
        self._stack.close()
