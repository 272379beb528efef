"""Optimizers by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tfcli.errors import UsageError
from tfcli.train.spec import OptimizerSection


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups: what inputs are multiplied with has weight decay, everything else has none."""
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            owner, _, leaf = name.rpartition(".")
            (decayed if decays(model.get_submodule(owner), leaf) else spared).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def decays(owner: nn.Module, leaf: str) -> bool:
    """Whether weight decay falls on the parameter `leaf` of a module.

    It does on matrices, kernels and tables: the `weight` of linears, convolutions, routers and
    embeddings. Decay pulls towards 0, which is no neutral place for the scale of a norm, whatever
    its shape, for a bias, or for what a family has of its own: decays, mixing shares, sinks.
    """
    is_norm = any(kind.__name__.endswith("Norm") for kind in type(owner).__mro__)
    return leaf == "weight" and not is_norm and owner.get_parameter(leaf).ndim > 1


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


def build_optimizer(
    model: nn.Module, section: OptimizerSection, lr: float
) -> torch.optim.Optimizer:
    """The optimizer of a model that is on its device. The loop sets the rate of each group at each
    step, as a share of its peak, `initial_lr`."""
    groups = [
        {**group, "initial_lr": lr} for group in parameter_groups(model, section.weight_decay)
    ]
    options = {"lr": lr, "betas": section.betas, "eps": section.eps}
    return OPTIMIZERS[section.name](groups, options)
