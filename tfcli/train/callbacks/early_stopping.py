"""Ending a run that no longer gets better."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from tfcli.train.callbacks.callback import Callback


class EarlyStopping(Callback):
    """Stops after some validations in a row without a better loss (Prechelt 1998).

    Args:
        patience: so many.
        least: by how much a loss must be lower to be better.
    """

    name: ClassVar[str] = "early_stopping"

    def __init__(self, patience: int, least: float) -> None:
        self.patience, self.least = patience, least
        self.best: float | None = None
        self.waited = 0

    def finished(self, figures: Mapping[str, Any], due: Collection[str]) -> None:
        """Look at the loss of a validation."""
        loss = figures.get("val_loss")
        if loss is None:
            return
        if self.best is None or loss < self.best - self.least:
            self.best, self.waited = loss, 0
        else:
            self.waited += 1

    def stops(self) -> str | None:
        """Whether it has waited long enough."""
        if self.waited < self.patience:
            return None
        return f"no better validation loss than {self.best:.4f} in {self.waited} validations"

    def state(self) -> dict[str, Any]:
        """The best loss and how long ago it was."""
        return {"best": self.best, "waited": self.waited}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Callback`."""
        self.best, self.waited = state["best"], state["waited"]
