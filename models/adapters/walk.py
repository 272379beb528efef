"""The modules of a model by their names, whether or not adapters stand in their places."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from tfcli.models.adapters.adapted import Wrapper
from tfcli.models.adapters.prompts import Prompts, VirtualTokens
from tfcli.models.model import Model
from tfcli.models.rules import of_modules, place_of


def plain_modules(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Every module of a model but those that adapters brought, by its name without them."""
    for name, module in model.named_children():
        if isinstance(module, Prompts):
            continue
        path = f"{prefix}{name}"
        plain = module.base_layer if isinstance(module, Wrapper) else module
        yield path, plain
        yield from plain_modules(plain, f"{path}.")


def wrappers(model: nn.Module) -> dict[str, Wrapper]:
    """What stands in the places of modules, by the names of these."""
    return {name: each for name, each in model.named_modules() if isinstance(each, Wrapper)}


def places(model: nn.Module) -> list[Wrapper | Prompts]:
    """Everything on a model that adapters have something in."""
    return [each for each in model.modules() if isinstance(each, Wrapper | Prompts)]


def prompt_of(model: nn.Module, name: str) -> VirtualTokens | None:
    """The virtual tokens of an adapter, if it has any."""
    held = getattr(model, "prompts", None)
    if held is None or name not in held.names:
        return None
    found = held.changes[name]
    assert isinstance(found, VirtualTokens)
    return found


def hub_name(model: Model, path: str) -> str:
    """What Hugging Face calls a module.

    Experts that checkpoints keep in a stack are modules of their own here, and have their own
    names.
    """
    name = f"{path}.weight"
    place = place_of(of_modules(model.rules()), name)
    if place.index is not None or not place.name.endswith(".weight"):
        return path
    stored = place.name.removesuffix(".weight")
    return stored.removeprefix(f"{model.base()}.") if model.bare() else stored


def put(model: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module in the place of another one."""
    owner, _, leaf = path.rpartition(".")
    setattr(model.get_submodule(owner), leaf, module)


@contextmanager
def bare(model: Model) -> Iterator[None]:
    """Within the block modules stand in their own places, as where a model's weights are read;
    another one that is put there meanwhile stays."""
    found, prompts = wrappers(model), model.prompts
    for path, each in found.items():
        put(model, path, each.base_layer)
    model.prompts = None
    try:
        yield
    finally:
        model.prompts = prompts
        for path, each in found.items():
            each.base_layer = model.get_submodule(path)
            put(model, path, each)
