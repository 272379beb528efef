"""Optimizers by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tfcli.errors import UsageError
from tfcli.train.moving_spec import OptimizerSection
from tfcli.train.optimizers.adam_mini import AdamMini, block_rows
from tfcli.train.optimizers.adamw import AdamW
from tfcli.train.optimizers.apollo import Apollo
from tfcli.train.optimizers.lion import Lion
from tfcli.train.optimizers.muon import Muon


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


Groups = list[dict[str, Any]]


def _adamw(groups: Groups, section: OptimizerSection, lr: float) -> torch.optim.Optimizer:
    """AdamW, one fused kernel a step where the devices have it."""
    devices = {parameter.device.type for group in groups for parameter in group["params"]}
    fused = devices <= {"cpu", "cuda"}
    return AdamW(groups, lr=lr, betas=section.betas, eps=section.eps, fused=fused)


def _adamw_8bit(groups: Groups, section: OptimizerSection, lr: float) -> torch.optim.Optimizer:
    """AdamW with 8-bit block-wise state (Dettmers et al. 2022)."""
    optim = _bitsandbytes().optim
    kind = optim.PagedAdamW8bit if section.name.endswith("paged") else optim.AdamW8bit
    made: torch.optim.Optimizer = kind(groups, lr=lr, betas=section.betas, eps=section.eps)
    return made


def _muon(groups: Groups, section: OptimizerSection, lr: float) -> torch.optim.Optimizer:
    return Muon(groups, lr=lr, momentum=section.momentum, betas=section.betas, eps=section.eps)


def _apollo(groups: Groups, section: OptimizerSection, lr: float) -> torch.optim.Optimizer:
    """The settings of its authors: a projection of a rank and a factor a channel; or of rank 1 and
    a factor a matrix, which is larger for it."""
    mini = section.name == "apollo-mini"
    return Apollo(
        groups,
        lr=lr,
        betas=section.betas,
        eps=section.eps,
        rank=1 if mini else section.rank,
        whole=mini,
        scale=128.0 if mini else 1.0,
    )


def _bitsandbytes() -> Any:
    try:
        import bitsandbytes
    except ImportError as error:
        raise UsageError(
            "8-bit optimizers need bitsandbytes, which is not installed",
            where="optimizer.name",
            fix="pip install 'tfcli[bnb]', or optimizer.name: adamw",
        ) from error
    return bitsandbytes


OPTIMIZERS: dict[str, Callable[[Groups, OptimizerSection, float], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "adamw-8bit": _adamw_8bit,
    "adamw-8bit-paged": _adamw_8bit,
    "apollo": _apollo,
    "apollo-mini": _apollo,
    # Adafactor's own rate is relative to the weights; here it is as given (Shazeer & Stern 2018).
    "adafactor": lambda groups, section, lr: torch.optim.Adafactor(groups, lr=lr),
    "lion": lambda groups, section, lr: Lion(groups, lr=lr, betas=section.betas),
    "muon": _muon,
    "sgd": lambda groups, section, lr: torch.optim.SGD(groups, lr=lr, momentum=section.momentum),
}


MATRICES = {"muon": "orthogonal", "apollo": "projected", "apollo-mini": "projected"}
"""Optimizers that move matrices of linears otherwise than the rest -> how their groups say it."""


def require_optimizer(name: str, device: str, strategy: str | None = None) -> None:
    """Refuse an optimizer that does not work here, before any work.

    Raises:
        UsageError: bitsandbytes is not installed; pages without a CUDA device; whole matrices that
            are spread over processes.
    """
    if "8bit" in name:
        _bitsandbytes()
    if name.endswith("paged") and device != "cuda":
        raise UsageError(
            f"optimizer.name: {name} moves its state between a CUDA device and the CPU, and this "
            f"run is on {device}",
            where="optimizer.name",
            fix="optimizer.name: adamw-8bit",
        )
    if strategy not in (None, "single", "ddp") and name not in ("adamw", "lion", "sgd"):
        raise UsageError(
            f"optimizer.name: {name} needs whole weights, and strategy: {strategy} spreads what it "
            "moves",
            where="optimizer.name",
            fix="optimizer.name: adamw, or strategy: ddp",
        )


def build_optimizer(
    model: nn.Module, section: OptimizerSection, lr: float
) -> torch.optim.Optimizer:
    """The optimizer of a model that is on its device. The loop sets the rate of each group at each
    step, as a share of its peak, `initial_lr`."""
    groups = parameter_groups(model, section.weight_decay)
    if section.name in MATRICES:
        groups = _with_matrices_apart(model, groups, MATRICES[section.name])
    groups = [{**group, "initial_lr": lr} for group in groups]
    if section.name == "adam-mini":
        rows = block_rows(model)
        return AdamMini(groups, lr=lr, betas=section.betas, eps=section.eps, rows=rows)
    return OPTIMIZERS[section.name](groups, section, lr)


def _with_matrices_apart(model: nn.Module, groups: Groups, key: str) -> Groups:
    """Groups of matrices of linears, but not of what makes scores of words; and of the rest.

    Args:
        key: what says in a group which of the two it is.
    """
    head = getattr(model, "word_head", None)
    matrices = {
        id(module.weight)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name != head
    }
    found = []
    for group in groups:
        for apart in (True, False):
            parts = [each for each in group["params"] if (id(each) in matrices) is apart]
            if parts:
                found.append({**group, "params": parts, key: apart})
    return found
