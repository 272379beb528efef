"""Muon: orthogonal steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tfcli.train.optimizers.groups import Groups, adam_direction, moved


class Muon(torch.optim.Optimizer):
    """Orthogonal steps for matrices (Jordan et al. 2024), AdamW for everything else.

    A step is as large as AdamW's usual one (Liu et al. 2025, "Muon is scalable"), so that both take
    the same rate and weight decay.

    Args:
        groups: of parameters, each with `weight_decay` and with `orthogonal`: whether these are
            matrices whose steps are made orthogonal.
        lr: the rate.
        momentum: the decay of the running mean of a matrix's gradients.
        betas: of AdamW.
        eps: of AdamW.
    """

    def __init__(
        self,
        groups: Groups,
        *,
        lr: float,
        momentum: float,
        betas: tuple[float, float],
        eps: float,
    ) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter with a gradient."""
        for group in self.param_groups:
            for parameter in moved(group):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                change = self._orthogonal if group["orthogonal"] else self._adam
                parameter.sub_(change(parameter, group))

    def _orthogonal(self, parameter: nn.Parameter, group: dict[str, Any]) -> Tensor:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        mean = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        step = orthogonalized(gradient.lerp(mean, group["momentum"]))
        return step * (group["lr"] * 0.2 * max(parameter.shape) ** 0.5)

    def _adam(self, parameter: nn.Parameter, group: dict[str, Any]) -> Tensor:
        assert parameter.grad is not None
        return adam_direction(parameter.grad, self.state[parameter], group) * group["lr"]


def orthogonalized(matrix: Tensor) -> Tensor:
    """The nearest matrix with orthogonal rows or columns, about: singular values of 0.7 to 1.2.

    Five Newton-Schulz steps with the coefficients of Jordan et al. 2024.

    matrix (Tensor): [m, n] -> [m, n]
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x
