"""A running mean of the weights, which often generalises better than the last ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tfcli.models.sharding import is_spread


class WeightAverage:
    """The exponential moving average of what is trained (Polyak & Juditsky 1992).

    Each process averages what it holds of every weight.

    Args:
        model: whose parameters are averaged, from their present values on.
        decay: how much of the mean stays at each step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._weights = [_here(each) for each in model.parameters() if each.requires_grad]
        self._means = [weight.clone() for weight in self._weights]

    @torch.no_grad()
    def update(self) -> None:
        """The weights have moved."""
        torch._foreach_lerp_(self._means, self._weights, 1 - self.decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within it the model has the means for weights."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """What the model gets for weights within it are the means from then on."""
        yield
        with torch.no_grad():
            torch._foreach_copy_(self._means, self._weights)

    @torch.no_grad()
    def swap(self) -> None:
        """The weights and the means change places."""
        for weight, mean in zip(self._weights, self._means, strict=True):
            kept = weight.clone()
            weight.copy_(mean)
            mean.copy_(kept)


def _here(parameter: nn.Parameter) -> Tensor:
    """What this process holds of a parameter."""
    held: Tensor = parameter.detach()
    return held.to_local() if is_spread(held) else held
