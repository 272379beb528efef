"""Lion: steps of one size."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tfcli.train.optimizers.groups import Groups, moved


class Lion(torch.optim.Optimizer):
    """Steps of one size in the direction of a mean of gradients (Chen et al. 2023).

    Args:
        groups: of parameters, each with `weight_decay`.
        lr: the size of a step; a third to a tenth of AdamW's.
        betas: how much of the running mean goes into a step, and stays in the mean.
    """

    def __init__(self, groups: Groups, *, lr: float, betas: tuple[float, float]) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter with a gradient."""
        for group in self.param_groups:
            in_step, in_mean = group["betas"]
            for parameter in moved(group):
                gradient, state = parameter.grad, self.state[parameter]
                if not state:
                    state["exp_avg"] = torch.zeros_like(parameter)
                mean = state["exp_avg"]
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(mean.lerp(gradient, 1 - in_step).sign_(), alpha=-group["lr"])
                mean.lerp_(gradient, 1 - in_mean)
