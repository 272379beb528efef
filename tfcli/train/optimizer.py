"""Optimizers by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from tfcli.errors import UsageError
from tfcli.train.spec import OptimizerSection


def parameter_groups(
    parameters: Iterable[nn.Parameter], weight_decay: float
) -> list[dict[str, Any]]:
    """Two groups: matrices with weight decay; norms, biases and other vectors without.

    Decay pulls towards 0, which is no neutral place for a norm's scale.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.ndim > 1]
    vectors = [parameter for parameter in trained if parameter.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _adamw(groups: list[dict[str, Any]], options: dict[str, Any]) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), one fused kernel a step where the devices have it."""
    devices = {parameter.device.type for group in groups for parameter in group["params"]}
    return torch.optim.AdamW(groups, fused=devices <= {"cpu", "cuda"}, **options)


def _adamw_8bit(groups: list[dict[str, Any]], options: dict[str, Any]) -> torch.optim.Optimizer:
    """AdamW with 8-bit block-wise state (Dettmers et al. 2022)."""
    return _bitsandbytes().optim.AdamW8bit(groups, **options)


def _bitsandbytes() -> Any:
    try:
        import bitsandbytes
    except ImportError as error:
        raise UsageError(
            "adamw-8bit needs bitsandbytes, which is not installed",
            where="optimizer.name",
            fix="pip install 'tfcli[bnb]', or optimizer.name: adamw",
        ) from error
    return bitsandbytes


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "adamw-8bit": _adamw_8bit,
}


def require_optimizer(name: str) -> None:
    """Refuse an optimizer whose library is missing, before any work.

    Raises:
        UsageError: bitsandbytes is not installed.
    """
    if name == "adamw-8bit":
        _bitsandbytes()


def build_optimizer(model: nn.Module, section: OptimizerSection) -> torch.optim.Optimizer:
    """The optimizer of a model that is on its device. The loop sets the rate at each step."""
    groups = parameter_groups(model.parameters(), section.weight_decay)
    options = {"lr": section.lr, "betas": section.betas, "eps": section.eps}
    return OPTIMIZERS[section.name](groups, options)
