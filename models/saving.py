"""From a model to what goes into a checkpoint: config.json and named tensors, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from tfcli.models.model import Model
from tfcli.models.registry import get_family
from tfcli.models.rules import Rule, to_checkpoint


@dataclass(frozen=True)
class Export:
    """One tensor of a checkpoint that is to be written.

    Args:
        name: Hugging Face's name.
        shape: as stored.
        dtype: as stored.
        read: makes the contiguous tensor, on the model's device.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], torch.Tensor]


def plan_export(model: Model, *, dtype: torch.dtype | None = None) -> list[Export]:
    """Every tensor of a checkpoint, with Hugging Face's name, layout and order.

    Nothing is copied yet: writers need all names and shapes first, and then one tensor at a time.
    A tied tensor comes once. A pair that the config ties but that differs (after training one of
    them) comes whole; `export_config` then writes it as untied.

    Args:
        model: whose tensors are on any device.
        dtype: of floating-point parameters; None keeps theirs.
    """
    leave_out = {} if diverged_ties(model) else model.active_ties()
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    found = []
    for name, tensor in model.state_dict().items():
        if name in leave_out:
            continue
        target = dtype if dtype is not None and name in parameters else tensor.dtype
        stored = to_checkpoint(model.rules, name, torch.empty_like(tensor, device="meta"))
        read = partial(_exported, model.rules, name, tensor.detach(), target)
        found.append(Export(name, tuple(stored.shape), target, read))
    return found


def export_tensors(
    model: Model, *, dtype: torch.dtype | None = None
) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of `plan_export`, made one after the other: name and contiguous tensor."""
    return ((item.name, item.read()) for item in plan_export(model, dtype=dtype))


def _exported(
    rules: tuple[Rule, ...], name: str, tensor: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    return to_checkpoint(rules, name, tensor).to(dtype)


def export_config(model: Model, *, dtype: torch.dtype | None = None) -> dict[str, Any]:
    """The content of config.json for the tensors of `export_tensors`."""
    family = get_family(model.config.model_type)
    config = model.config.replace(
        architectures=[family.architecture_of(model.task)],
        dtype=str(dtype or model.dtype).removeprefix("torch."),
        tie_word_embeddings=model.config.tie_word_embeddings and not diverged_ties(model),
    )
    return config.to_dict()


def diverged_ties(model: Model) -> dict[str, str]:
    """The pairs that the config ties but whose values differ by now."""
    apart = {}
    for name, origin in model.active_ties().items():
        first, second = model.get_parameter(origin), model.get_parameter(name)
        if first is not second and not torch.equal(first, second):
            apart[name] = origin
    return apart
