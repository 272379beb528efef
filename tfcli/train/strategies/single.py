"""One process with the whole model."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from tfcli.models.model import Model
from tfcli.train.strategies.strategy import Strategy


class Single(Strategy):
    """Nothing is spread."""

    name: ClassVar[str] = "single"

    def wrap(self, model: Model) -> nn.Module:
        """The model itself."""
        return model.to(self.device)

    def proof(self, wrapped: nn.Module) -> str:
        """The device that its parameters are on."""
        places = {str(parameter.device) for parameter in wrapped.parameters()}
        return f"one process, the model on {', '.join(sorted(places))}"
