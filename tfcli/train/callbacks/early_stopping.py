"""Ending a run that no longer gets better."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from tfcli.train.callbacks.callback import Callback
from tfcli.train.measures.measure import Better


class EarlyStopping(Callback):
    """Stops after some validations in a row without a better one (Prechelt 1998).

    Args:
        patience: so many.
        better: which of two validations is the better one.
    """

    name: ClassVar[str] = "early_stopping"

    def __init__(self, patience: int, better: Better) -> None:
        self.patience, self.better = patience, better
        self.best: dict[str, float] | None = None
        self.waited = 0

    def finished(self, figures: Mapping[str, Any], due: Collection[str]) -> None:
        """Look at the figure of a validation."""
        key = self.better.key
        if figures.get(key) is None:
            return
        if self.better(figures, self.best):
            self.best, self.waited = {key: figures[key]}, 0
        else:
            self.waited += 1

    def stops(self) -> str | None:
        """Whether it has waited long enough."""
        if self.waited < self.patience or self.best is None:
            return None
        what, best = self.better.name, self.best[self.better.key]
        return f"no better {what} than {best:.4f} in {self.waited} validations"

    def state(self) -> dict[str, Any]:
        """The best figure and how long ago it was."""
        return {"best": self.best, "waited": self.waited}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Callback`."""
        self.best, self.waited = state["best"], state["waited"]
