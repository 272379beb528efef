"""One process with the whole model."""

from __future__ import annotations

import torch
from torch import nn

from tfcli.models.model import Model
from tfcli.train.strategies.strategy import MakeOptimizer, Strategy


class Single(Strategy):
    """Nothing is spread."""

    name = "single"

    def wrap(
        self, model: Model, make_optimizer: MakeOptimizer, clip_norm: float | None
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """The model itself."""
        model = model.to(self.device)
        return model, make_optimizer(model)

    def proof(self, wrapped: nn.Module) -> str:
        """The device that its parameters are on."""
        places = {str(parameter.device) for parameter in wrapped.parameters()}
        return f"one process, the model on {', '.join(sorted(places))}"
