"""(IA)^3: a learned factor for each output of a linear, or for each input (Liu et al. 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tfcli.models.adapters.bases import sizes_of
from tfcli.models.adapters.change import Change
from tfcli.models.sharding import whole


class Ia3(Change):
    """Factors of a linear.

    Args:
        base: the linear.
        feedforward: they multiply inputs, not outputs.

    Attributes:
        ia3_l (Tensor): [1, in] with `feedforward`, else [out, 1].
    """

    def __init__(self, base: nn.Module, *, feedforward: bool) -> None:
        super().__init__()
        inputs, outputs = sizes_of(base)
        self.feedforward = feedforward
        self.ia3_l = nn.Parameter(torch.empty((1, inputs) if feedforward else (outputs, 1)))
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        self.ia3_l.fill_(1)

    def before(self, x: Tensor) -> Tensor:
        return self._times(x) if self.feedforward else x

    def after(self, x: Tensor, result: Tensor, plain: Tensor, base: nn.Module) -> Tensor:
        return result if self.feedforward else self._times(result)

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        factors = whole(self.ia3_l.detach())
        made = (weight.detach() * factors).to(weight.dtype)
        if bias is None or self.feedforward:
            return made, bias
        return made, (bias.detach() * factors.flatten()).to(bias.dtype)

    def _times(self, x: Tensor) -> Tensor:
        return (x * self.ia3_l.flatten()).to(x.dtype)
