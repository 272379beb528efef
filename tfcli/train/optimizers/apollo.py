"""APOLLO: Adam's step sizes from a random projection of each gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tfcli.train.optimizers.groups import Groups, adam_direction, moved

REDRAWN = 200
"""Steps after which another projection is drawn."""
GROWTH = 1.01
"""A step is at most so many times as long as the one before (Chen et al. 2024, "Fira")."""
TINY = 1e-8


class Apollo(torch.optim.Optimizer):
    """Gradients that are scaled by what Adam makes of their projection (Zhu et al. 2024, "APOLLO:
    SGD-like Memory, AdamW-level Performance"), AdamW for everything but matrices.

    Projections are drawn anew from a seed, and are no state.

    Args:
        groups: of parameters, each with `weight_decay` and with `projected`: whether these are
            matrices whose steps are made so.
        lr: the rate.
        betas: of AdamW.
        eps: of AdamW.
        rank: of the projections.
        whole: one factor for a matrix, not one for each of its channels.
        scale: what the steps of matrices are multiplied by, squared.
    """

    def __init__(
        self,
        groups: Groups,
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        rank: int,
        whole: bool,
        scale: float,
    ) -> None:
        options = {"betas": betas, "eps": eps, "rank": rank, "whole": whole, "scale": scale}
        super().__init__(groups, {"lr": lr, **options})
        every = [each for group in self.param_groups for each in group["params"]]
        self._numbers = {parameter: number for number, parameter in enumerate(every, start=1)}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter with a gradient."""
        for group in self.param_groups:
            for parameter in moved(group):
                gradient, state = parameter.grad, self.state[parameter]
                assert gradient is not None
                seen = gradient
                if group["projected"]:
                    seen = self._projected(parameter, gradient, group["rank"], state)
                change = adam_direction(seen, state, group)
                if group["projected"]:
                    change = self._scaled(gradient, seen, change, state, group)
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(change, alpha=group["lr"])

    def _projected(
        self, parameter: nn.Parameter, gradient: Tensor, rank: int, state: dict[str, Any]
    ) -> Tensor:
        """[m, n] -> [m, rank], or [rank, n] where n is larger"""
        m, n = gradient.shape
        seed = seed_of(self._numbers[parameter], state.get("step", 0) // REDRAWN)
        draw = torch.Generator().manual_seed(seed)
        if m >= n:
            matrix = torch.randn(rank, n, generator=draw).to(gradient) / math.sqrt(rank)
            return gradient @ matrix.T
        matrix = torch.randn(m, rank, generator=draw).to(gradient) / math.sqrt(rank)
        return matrix.T @ gradient

    def _scaled(
        self,
        gradient: Tensor,
        seen: Tensor,
        change: Tensor,
        state: dict[str, Any],
        group: dict[str, Any],
    ) -> Tensor:
        """The gradient, by how much Adam would have changed its length."""
        # Lengths are compared without what Adam makes up for in its first steps.
        first, second = group["betas"]
        made_up = math.sqrt(1 - second ** state["step"]) / (1 - first ** state["step"])
        dims = None if group["whole"] else int(gradient.shape[0] >= gradient.shape[1])
        before = torch.linalg.vector_norm(seen, dim=dims, keepdim=True)
        after = torch.linalg.vector_norm(change / made_up, dim=dims, keepdim=True)
        scaled = gradient * (after / (before + TINY))
        length = scaled.norm()
        if "length" in state:
            limit = torch.clamp(length / (state["length"] + TINY), min=GROWTH) / GROWTH
            scaled, length = scaled / limit, length / limit
        state["length"] = length
        return scaled * (math.sqrt(group["scale"]) * made_up)


def seed_of(number: int, draw: int) -> int:
    """The seed of a parameter's projection: its authors' chain of seeds, which each draw follows.

    Args:
        number: of the parameter, from 1.
        draw: how many projections were drawn before.
    """
    seed = number
    for _ in range(draw):
        chain = torch.Generator().manual_seed(seed)
        seed = int(torch.randint(0, torch.iinfo(torch.int64).max, (15,), generator=chain)[-1])
    return seed
