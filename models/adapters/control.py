"""The adapters that are on a model: which count, taking them off, merging and adding them up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from tfcli.models.adapters.adapted import Adapted, Replaced
from tfcli.models.adapters.bases import is_packed
from tfcli.models.adapters.lora import Lora, LoraEmbedding, LoraLinear
from tfcli.models.adapters.walk import places, prompt_of, put, wrappers
from tfcli.models.errors import ModelError, hint
from tfcli.models.model import Model


def adapters_of(model: nn.Module) -> list[str]:
    """The names of a model's adapters, in the order in which they were put on it."""
    return list(dict.fromkeys(name for each in places(model) for name in each.names))


def active_adapters(model: nn.Module) -> tuple[str, ...]:
    """The names of those that count."""
    return next((each.active for each in places(model)), ())


def set_active(model: nn.Module, *names: str) -> None:
    """Let some adapters count, and no others. The changes of several are added up; of several
    copies of a module, that of the last counts.

    Raises:
        ModelError: the model has no adapter of a name, or two of them have virtual tokens.
    """
    _require(model, names)
    prompts = [name for name in names if prompt_of(model, name) is not None]
    if len(prompts) > 1:
        raise ModelError(
            f"{prompts[0]!r} and {prompts[1]!r} both have virtual tokens, of which those of one "
            "adapter count at a time",
            where=prompts[1],
        )
    for each in places(model):
        each.active = names


def moved_tensors(model: nn.Module) -> set[str] | None:
    """The tensors of a model's state dict that training or its start has moved: those of adapters,
    what is trained beside them, and weights that a start took something out of. None where the
    model has no adapter."""
    found = wrappers(model)
    if not places(model):
        return None
    names = {name for name, each in model.named_parameters() if each.requires_grad}
    for path, each in found.items():
        inner = each.changes if isinstance(each, Adapted) else each.copies
        kind = "changes" if isinstance(each, Adapted) else "copies"
        names |= {f"{path}.{kind}.{name}" for name in inner.state_dict()}
        parts = inner.values() if isinstance(each, Adapted) else ()
        if any(isinstance(part, Lora) and part.first_a is not None for part in parts):
            names.add(f"{path}.base_layer.weight")
    return names


@contextmanager
def disabled(model: nn.Module) -> Iterator[None]:
    """Within the block the model computes what its base does. Trained biases stay as they are."""
    before = active_adapters(model)
    set_active(model)
    try:
        yield
    finally:
        set_active(model, *before)


def delete_adapter(model: Model, name: str) -> None:
    """Take an adapter off; what has none after that is as it was.

    Raises:
        ModelError: the model has no such adapter.
    """
    _require(model, [name])
    if prompt_of(model, name) is not None:
        del model.prompts.changes[name]
        if not model.prompts.names:
            model.prompts = None
    for path, each in wrappers(model).items():
        if name not in each.names:
            continue
        if isinstance(each, Adapted):
            _give_back(each, name)
            del each.changes[name]
        elif isinstance(each, Replaced):
            del each.copies[name]
        if not each.names:
            put(model, path, each.base_layer)
    set_active(model, *(other for other in active_adapters(model) if other != name))


def merge_adapters(model: Model, *names: str) -> list[str]:
    """Work adapters into the weights, and take all off. The active ones, where none is named.

    A weight that another module shares is that module's no more, where it is changed.

    Args:
        model: with a dense base.
        names: of adapters.

    Returns:
        the tied parameters that are not any more

    Raises:
        ModelError: no such adapter, or a packed base, which cannot be written to.
    """
    chosen = names or active_adapters(model)
    _require(model, chosen)
    for name in chosen:
        if prompt_of(model, name) is not None:
            raise ModelError(
                f"{name!r} has virtual tokens, which are no change of weights",
                where=name,
                fix="run the model with the adapter beside it",
            )
    found = wrappers(model)
    for path, each in found.items():
        counts = set(each.names) & set(chosen)
        if counts and isinstance(each, Adapted) and is_packed(each.base_layer):
            raise ModelError(
                "its weight is packed, and cannot be changed by a little",
                where=path,
                fix="merge it into the dense model that this one was made from: tfcli merge",
            )
    for path, each in found.items():
        if isinstance(each, Adapted):
            put(model, path, each.merge(chosen))
        else:
            each.active = chosen
            put(model, path, each.asked())
    return [
        name
        for name, origin in model.active_ties().items()
        if model.get_parameter(name) is not model.get_parameter(origin)
    ]


def combine_adapters(model: Model, weights: Mapping[str, float], name: str) -> None:
    """Make one adapter of several: its change is the sum of theirs, each times a weight.

    That is exact: the factors of all stand side by side, as PEFT's `combination_type: cat` has
    them, so that the new rank is the sum of theirs.

    Args:
        model: with LoRA adapters without DoRA's lengths and copies of modules.
        weights: name of an adapter -> what its change is multiplied by.
        name: of the new adapter, which becomes the active one.

    Raises:
        ModelError: no such adapter, a name that is taken, or adapters that do not add up.
    """
    from tfcli.models.adapters.attach import attach

    _require(model, weights)
    for other in weights:
        if prompt_of(model, other) is not None:
            raise ModelError(
                f"{other!r} has virtual tokens, which do not add up",
                where=other,
                fix="combine LoRA adapters",
            )
    changes: dict[str, Lora] = {}
    for path, each in wrappers(model).items():
        mine = [other for other in weights if other in each.names]
        if not mine:
            continue
        parts = [each.change(other) if isinstance(each, Adapted) else each for other in mine]
        for other, part in zip(mine, parts, strict=True):
            if not isinstance(part, Lora) or part.lora_magnitude_vector is not None:
                raise ModelError(
                    f"{path} is changed by {other!r} in a way that does not add up",
                    where=other,
                    fix="combine LoRA adapters, without DoRA and modules_to_save",
                )
        loras = [part for part in parts if isinstance(part, Lora)]
        changes[path] = _sum(each.base_layer, loras, [weights[other] for other in mine])
    attach(model, name, changes, [])


@torch.no_grad()
def _sum(base: nn.Module, parts: list[Lora], weights: list[float]) -> Lora:
    pairs = [part.whole_factors for part in parts]
    a = torch.cat([each for each, _ in pairs])
    scaled = zip(pairs, parts, weights, strict=True)
    b = torch.cat([each * (part.scale * weight) for (_, each), part, weight in scaled], dim=1)
    rank = a.shape[0]
    made: Lora
    if isinstance(base, nn.Embedding):
        made = LoraEmbedding(base, rank, rank)
    else:
        made = LoraLinear(base, rank, rank)
    first, second = made.to(a.device).factors
    first.copy_(a)
    second.copy_(b)
    return made


@torch.no_grad()
def _give_back(place: Adapted, name: str) -> None:
    """Put into the base's weight what an adapter's start took out of it."""
    change = place.change(name)
    if isinstance(change, Lora) and change.first_a is not None:
        weight = place.base_layer.get_parameter("weight")
        weight.copy_(change.undone(weight))


def _require(model: nn.Module, names: Mapping[str, float] | tuple[str, ...] | list[str]) -> None:
    known = adapters_of(model)
    for name in names:
        if name not in known:
            raise ModelError(
                f"the model has no adapter {name!r}", where=name, fix=hint(name, known)
            )
