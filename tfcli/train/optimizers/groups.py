"""What optimizers here share: groups of parameters, and the direction of Adam."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

Groups = Iterable[dict[str, Any]]
"""Groups of parameters, each with `weight_decay`."""


def moved(group: dict[str, Any]) -> Iterable[nn.Parameter]:
    """The parameters of a group that have a gradient."""
    return (parameter for parameter in group["params"] if parameter.grad is not None)


def adam_direction(gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    """The step of Adam at the rate 1, with its state moved on."""
    if "step" not in state:
        state |= {"step": 0, "exp_avg": torch.zeros_like(gradient)}
        state["exp_avg_sq"] = torch.zeros_like(gradient)
    state["step"] += 1
    first, second = group["betas"]
    mean = state["exp_avg"].lerp_(gradient, 1 - first)
    square = state["exp_avg_sq"].lerp_(gradient.square(), 1 - second)
    size = (square / (1 - second ** state["step"])).sqrt_().add_(group["eps"])
    return mean / size / (1 - first ** state["step"])
