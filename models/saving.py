"""From a model to what goes into a checkpoint: config.json and named tensors, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from tfcli.models.adapters.control import adapters_of
from tfcli.models.errors import ModelError
from tfcli.models.model import Model
from tfcli.models.registry import get_family
from tfcli.models.rules import Place, stacked
from tfcli.models.sharding import whole
from tfcli.models.stacking import is_stacked


@dataclass(frozen=True)
class Export:
    """One tensor of a checkpoint that is to be written.

    Args:
        name: Hugging Face's name.
        shape: as stored.
        dtype: as stored.
        read: makes the contiguous tensor, on the model's device. Of one that is spread over
            processes, all must ask for it together.
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
        dtype: of floating-point parameters, but those that the family keeps in fp32; None keeps
            theirs.

    Raises:
        ModelError: the model's experts are stacked, or adapters are on it.
    """
    if adapters_of(model):
        raise ModelError(
            "a model with adapters is no checkpoint",
            fix="call merge_adapters(model) or delete_adapter(model, name) before saving",
        )
    if is_stacked(model):
        raise ModelError(
            "stacked experts have other names than checkpoints",
            fix="call unstack_experts(model) before saving",
        )
    family = get_family(model.config.model_type)
    leave_out = {} if diverged_ties(model) else model.active_ties()
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    tensors = {name: t.detach() for name, t in model.state_dict().items() if name not in leave_out}
    places = {name: stored_place(model, name) for name in tensors}
    found = []
    for stored_name, names in stacked(places).items():
        first = tensors[names[0]]
        target = first.dtype
        if dtype is not None and names[0] in parameters and target != dtype:
            wanted = family.cast_to(stored_name, str(dtype).removeprefix("torch."))
            target = getattr(torch, wanted)
        like = torch.empty(first.shape, dtype=first.dtype, device="meta")
        shape = tuple(places[names[0]].write(like).shape)
        if places[names[0]].index is not None:
            shape = (len(names), *shape)
        parts = [(places[name], tensors[name]) for name in names]
        found.append(Export(stored_name, shape, target, partial(_exported, parts, target)))
    return found


def stored_place(model: Model, name: str) -> Place:
    """Where a checkpoint that we write keeps a parameter."""
    place = model.place_of(name)
    if not model.bare():
        return place
    return replace(place, name=place.name.removeprefix(f"{model.base()}."))


def export_tensors(
    model: Model, *, dtype: torch.dtype | None = None
) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of `plan_export`, made one after the other: name and contiguous tensor."""
    return ((item.name, item.read()) for item in plan_export(model, dtype=dtype))


def _exported(parts: list[tuple[Place, torch.Tensor]], dtype: torch.dtype) -> torch.Tensor:
    """One stored tensor from the parameters in it; contiguous, as containers want it."""
    place, tensor = parts[0]
    if place.index is None:
        return place.write(whole(tensor)).contiguous().to(dtype)
    return torch.stack([part.write(whole(tensor)).to(dtype) for part, tensor in parts])


def export_config(model: Model, *, dtype: torch.dtype | None = None) -> dict[str, Any]:
    """The content of config.json for the tensors of `export_tensors`."""
    family = get_family(model.config.model_type)
    config = model.config.replace(
        architectures=[family.names[model.task]],
        dtype=str(dtype or model.dtype).removeprefix("torch."),
        tie_word_embeddings=model.config.tie_word_embeddings and not diverged_ties(model),
    )
    return config.to_dict()


def diverged_ties(model: Model) -> dict[str, str]:
    """The pairs that the config ties but whose values differ by now."""
    apart = {}
    for name, origin in model.active_ties().items():
        first, second = model.get_parameter(origin), model.get_parameter(name)
        if first is not second and not torch.equal(whole(first), whole(second)):
            apart[name] = origin
    return apart
