"""Putting an adapter on a model."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn

from tfcli.models.adapters.adalora import AdaLora
from tfcli.models.adapters.adapted import Adapted, Replaced, Wrapper
from tfcli.models.adapters.bases import device_of
from tfcli.models.adapters.change import Change
from tfcli.models.adapters.control import adapters_of, set_active
from tfcli.models.adapters.ia3 import Ia3
from tfcli.models.adapters.lora import Lora, LoraEmbedding, LoraLinear
from tfcli.models.adapters.prompt_encoder import EncodedPrompt
from tfcli.models.adapters.prompts import (
    Prefix,
    Prompt,
    Prompts,
    VirtualTokens,
    require_promptable,
    width_of,
)
from tfcli.models.adapters.settings import MOVING_STARTS, PROMPTS, AdapterSettings
from tfcli.models.adapters.starts import begin, begin_values, require_movable
from tfcli.models.adapters.targets import find_saved, find_targets, is_feedforward
from tfcli.models.adapters.walk import plain_modules, prompt_of, put, wrappers
from tfcli.models.errors import ModelError
from tfcli.models.model import Model
from tfcli.models.sharding import fill, give_memory

DEFAULT = "default"


def add_adapter(
    model: Model, settings: AdapterSettings, name: str = DEFAULT, seed: int = 0
) -> list[str]:
    """Put a new adapter on a model, make it the active one and freeze everything else.

    The model computes what it did, until the adapter is trained; but virtual tokens are seen from
    the beginning.

    Args:
        model: on any device, the meta device too; adapters may be on it already.
        settings: of the adapter.
        name: that no adapter on the model has.
        seed: of the factors' values.

    Returns:
        the names of the modules that are changed, and of those that are trained whole

    Raises:
        ModelError: a target that is not there or takes no adapter, a name that is taken, or a start
            that would change a weight that others share.
    """
    changed = shape_adapter(model, settings, name)
    begin_adapter(model, settings, name, seed)
    return changed


def shape_adapter(model: Model, settings: AdapterSettings, name: str = DEFAULT) -> list[str]:
    """The same without values, which `begin_adapter` gives: for a model without memory, which is
    spread over processes before it gets some.

    Raises:
        ModelError: as `add_adapter`.
    """
    if settings.type in PROMPTS:
        require_promptable(model)
        attach_prompt(model, name, _prompt(model, settings))
        return []
    targets = find_targets(model, settings)
    saved = find_saved(model, settings.modules_to_save)
    if settings.start in MOVING_STARTS and settings.dora:
        raise ModelError(
            f"start: {settings.start} takes something out of the base, whose lengths DoRA learns",
            where="start",
            fix="leave out one of the two",
        )
    if settings.start in MOVING_STARTS:
        _require_unshared(model, targets, settings.start)
    modules = dict(plain_modules(model))
    changes: dict[str, Change] = {}
    for path in targets:
        changes[path] = made = _change(model, path, modules[path], settings)
        if settings.start in MOVING_STARTS and isinstance(made, Lora):
            require_movable(made, modules[path], settings.start, path)
    attach(model, name, changes, saved)
    train_only(model, name, settings)
    return [*targets, *saved]


def attach_prompt(model: Model, name: str, prompt: VirtualTokens) -> None:
    """Put virtual tokens before every text of a model, make theirs the active adapter and freeze
    everything else.

    Raises:
        ModelError: as `attach`.
    """
    _require_new(model, name)
    model.requires_grad_(False)
    if model.prompts is None:
        model.prompts = Prompts()
    model.prompts.changes[name] = prompt.to(model.device).train(model.training)
    set_active(model, name)


def begin_adapter(model: Model, settings: AdapterSettings, name: str, seed: int) -> None:
    """Give an adapter its first values, beside a base that has its own. Processes over which the
    model is spread call it together.

    Args:
        model: with the adapter; on the meta device it stays without values.
        settings: of the adapter.
        name: of the adapter.
        seed: of the factors' values.
    """
    prompt = prompt_of(model, name)
    if prompt is not None and model.device.type != "meta":
        give_memory(prompt, model.device)
        prompt.begin(model, seed, name)
    for path, each in wrappers(model).items():
        device = device_of(each.base_layer)
        if device.type == "meta" or name not in each.names:
            continue
        if isinstance(each, Replaced):
            _begin_copy(each, name, device)
            continue
        assert isinstance(each, Adapted), "there are two kinds"
        change = each.change(name)
        give_memory(change, device)
        change.reset()
        if isinstance(change, AdaLora):
            begin_values(change, seed, f"{path}.{name}")
        if isinstance(change, Lora):
            begin(change, each.base_layer, settings.start, seed, f"{path}.{name}")
            if settings.dora:
                change.start_lengths(each.base_layer)


def _begin_copy(place: Replaced, name: str, device: torch.device) -> None:
    """Give a copy of a module the values of the module."""
    copied = place.copies[name]
    give_memory(copied, device)
    values = place.base_layer.state_dict(keep_vars=True)
    for leaf, slot in copied.state_dict(keep_vars=True).items():
        fill(slot, values[leaf])


def attach(
    model: Model, name: str, changes: Mapping[str, Change], saved: list[str]
) -> dict[str, nn.Module]:
    """Put the changes of an adapter on the modules of a model, and make it the active one.

    Args:
        model: on any device.
        name: that no adapter on the model has.
        changes: by the names of modules; they go to the devices of these.
        saved: modules that the adapter has copies of.

    Returns:
        the copies, by the names of their modules

    Raises:
        ModelError: the name is taken or cannot be one, or a module is part of one that another
            adapter has a copy of.
    """
    _require_new(model, name)
    _require_apart(model, list(changes), saved)
    modules = dict(plain_modules(model))
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for path, change in changes.items():
        place = model.get_submodule(path)
        wrapper = place if isinstance(place, Adapted) else Adapted(place)
        wrapper.changes[name] = change.to(device_of(modules[path])).train(wrapper.training)
        put(model, path, wrapper)
    copies = {}
    for path in saved:
        place = model.get_submodule(path)
        keeper = place if isinstance(place, Replaced) else Replaced(place)
        keeper.copies[name] = copies[path] = copy.deepcopy(keeper.base_layer)
        put(model, path, keeper)
    set_active(model, name)
    return copies


def train_only(model: Model, name: str, settings: AdapterSettings) -> None:
    """Train one adapter, with the biases that it asks for, and nothing else."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for wrapper in model.modules():
        part: nn.Module | None = None
        if isinstance(wrapper, Adapted) and name in wrapper.changes:
            part = wrapper.changes[name]
        elif isinstance(wrapper, Replaced) and name in wrapper.copies:
            part = wrapper.copies[name]
        for parameter in part.parameters() if part is not None else ():
            parameter.requires_grad_(True)
    for parameter in biases(model, name, settings.bias).values():
        parameter.requires_grad_(True)


def biases(model: Model, name: str, which: str) -> dict[str, nn.Parameter]:
    """The biases of the base that an adapter trains, by their names without adapters.

    Args:
        model: with the adapter.
        name: of the adapter.
        which: `none`, `all`, or `lora_only`: those of the modules that it changes.
    """
    found = {}
    for path, module in plain_modules(model):
        bias = module._parameters.get("bias")
        if bias is None or which == "none":
            continue
        place = model.get_submodule(path)
        if which == "all" or (isinstance(place, Adapted) and name in place.changes):
            found[f"{path}.bias"] = bias
    return found


def shared_targets(model: Model, paths: list[str]) -> dict[str, str]:
    """Those of some modules whose weight another module has too, as a head has the token table's
    -> that module. An adapter on one of them changes that one alone."""
    owners: dict[int, list[str]] = {}
    for path, module in plain_modules(model):
        weight = module._parameters.get("weight")
        if weight is not None:
            owners.setdefault(id(weight), []).append(path)
    found = {}
    for pair in owners.values():
        for path in pair:
            others = [other for other in pair if other != path]
            if path in paths and others:
                found[path] = others[0]
    return found


def _require_unshared(model: Model, targets: list[str], start: str) -> None:
    shared = shared_targets(model, targets)
    for path, other in shared.items():
        raise ModelError(
            f"start: {start} would change the weight of {other} too, which shares it",
            where=f"target_modules: {path}",
            fix="take start: default, or leave the module out",
        )


def _require_new(model: Model, name: str) -> None:
    if not name or "." in name:
        raise ModelError(f"{name!r} is no name of an adapter: it has a dot, or nothing", where=name)
    if name in adapters_of(model):
        raise ModelError(f"the model has an adapter {name!r} already", where=name)


def _require_apart(model: Model, changed: list[str], saved: list[str]) -> None:
    """Refuse changes of what another adapter has a copy of, and copies of what holds adapters."""
    for path in [path for path, _ in plain_modules(model)]:
        place = model.get_submodule(path)
        wrong: list[str] = []
        if isinstance(place, Replaced):
            wrong = [each for each in changed if f"{each}.".startswith(f"{path}.")]
            wrong += [each for each in saved if each.startswith(f"{path}.")]
        if isinstance(place, Wrapper):
            wrong += [each for each in saved if path.startswith(f"{each}.")]
        if isinstance(place, Adapted):
            wrong += [each for each in saved if each == path]
        if wrong:
            raise ModelError(
                f"another adapter is on {path}",
                where=wrong[0],
                fix="put one of the two on a model of its own",
            )


def _prompt(model: Model, settings: AdapterSettings) -> VirtualTokens:
    count = settings.virtual_tokens
    if settings.type == "p-tuning":
        return EncodedPrompt(count, width_of(model), settings.encoder)
    return (Prefix if settings.type == "prefix-tuning" else Prompt).of(model, count)


def _change(model: Model, path: str, base: nn.Module, settings: AdapterSettings) -> Change:
    if settings.type == "ia3":
        return Ia3(base, feedforward=is_feedforward(model, path, settings.feedforward_modules))
    if settings.type == "adalora":
        with device_of(base):
            return AdaLora(
                base,
                settings.rank,
                settings.alpha,
                dropout=settings.dropout,
                allocation=settings.allocation,
            )
    made = LoraEmbedding if isinstance(base, nn.Embedding) else LoraLinear
    with device_of(base):
        lora = made(
            base, settings.rank, settings.alpha, rslora=settings.rslora, dropout=settings.dropout
        )
        if settings.dora:
            lora.add_lengths()
    return lora
