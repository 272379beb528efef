"""Stacking the experts of a model's mixtures, and taking them apart again for saving."""

from __future__ import annotations

from torch import nn

from tfcli.models.errors import ModelError
from tfcli.models.layers.moe import MixtureOfExperts
from tfcli.models.layers.stacked_experts import StackedExperts


def stack_experts(model: nn.Module) -> int:
    """Exchange each mixture's list of experts for stacked weights; see `StackedExperts`.

    For after loading, on the device where the model runs. Names of parameters change, so a model
    is calibrated, quantized and saved as it was before: `unstack_experts`. One layer's experts are
    in memory twice at a time.

    Args:
        model: with or without mixtures; those that are stacked stay so.

    Returns:
        how many mixtures were stacked

    Raises:
        ModelError: experts that are no plain linears, naming their mixture. None is stacked then
            that comes after it.
    """
    count = 0
    for name, mixture in _mixtures(model):
        if isinstance(mixture.experts, StackedExperts):
            continue
        try:
            mixture.experts = StackedExperts(mixture.experts)
        except ModelError as error:
            raise ModelError(error.what, where=f"{name}.experts", fix=error.fix) from error
        count += 1
    return count


def unstack_experts(model: nn.Module) -> int:
    """Give each stacked mixture its list of experts back, with the same bits in their weights.

    Parameters are new: an optimizer that had the stacks has to be made anew.

    Returns:
        how many mixtures were stacked
    """
    count = 0
    for _, mixture in _mixtures(model):
        if isinstance(mixture.experts, StackedExperts):
            mixture.experts = nn.ModuleList(mixture.experts.unstacked())
            count += 1
    return count


def is_stacked(model: nn.Module) -> bool:
    """Whether a model has stacked experts."""
    return any(isinstance(mixture.experts, StackedExperts) for _, mixture in _mixtures(model))


def _mixtures(model: nn.Module) -> list[tuple[str, MixtureOfExperts]]:
    named = model.named_modules()
    return [(name, module) for name, module in named if isinstance(module, MixtureOfExperts)]
