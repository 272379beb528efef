"""The parts that are put together, found in their checkpoints by headers and configs alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from tfcli.checkpoints.beside import CONFIG
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.containers import open_ref
from tfcli.checkpoints.located import located
from tfcli.checkpoints.packed.unpack import method_of, widened
from tfcli.checkpoints.ties import require_ties
from tfcli.errors import ModelError, UsageError, WorkError
from tfcli.models.backbone import Backbone
from tfcli.models.config import BaseConfig
from tfcli.models.configs.text import TextConfig
from tfcli.models.family import Family
from tfcli.models.heads.causal_lm import CausalLM
from tfcli.models.loading import build
from tfcli.models.matching import LoadAccount, match_names, some
from tfcli.models.model import Model
from tfcli.models.registry import get_family
from tfcli.models.rules import Place

HEAD = "causal-lm"
TEXT = "input_ids"
AnyBackbone = Backbone[Any]


@dataclass(frozen=True)
class Part:
    """A language model or a tower in its checkpoint.

    Args:
        ref: the checkpoint as the user named it.
        checkpoint: it, opened.
        config: of the part.
        places: parameter -> where the checkpoint keeps it. Names of a language model are those of
            its own model class; of a tower they begin in it.
        skipped: tensors that are no part of it -> why.
        path: where a tower is in the checkpoint's model; empty where it is all of it.
        base: the attribute of a language model's backbone.
    """

    ref: str
    checkpoint: Checkpoint
    config: BaseConfig
    places: Mapping[str, Place]
    skipped: Mapping[str, str]
    path: str = ""
    base: str = ""

    @property
    def family(self) -> Family:
        """The family of the part."""
        return get_family(self.config.model_type)


def open_language_model(ref: str) -> Part:
    """A language model with its head.

    Raises:
        UsageError: no such checkpoint, packed weights, or a model without the head.
        ModelError, WorkError: a config or files that cannot be read, or do not belong together.
    """
    where = "model.language_model"
    checkpoint = _opened(ref, where)
    config = checkpoint.model_config
    family = get_family(config.model_type)
    task = _task(family, config)
    heads = family.heads
    if task != HEAD or not issubclass(family.model_class(HEAD), CausalLM):
        raise UsageError(
            f"{ref} has no language-model head: it is {config.model_type} for {task or 'no task'}",
            where=where,
            fix=f"name a checkpoint of {family.names[HEAD]}"
            if HEAD in heads
            else "name a checkpoint of a language model, such as LlamaForCausalLM",
        )
    assert isinstance(config, TextConfig), "a family with that head reads text"
    model = _built(checkpoint, config, HEAD)
    plan, skipped = _matched(checkpoint, model)
    slots = model.state_dict(keep_vars=True)
    own = {name for name in slots if name in plan or not _given(model, name)}
    _require(checkpoint, {name: slots[name] for name in own}, plan)
    kept = {name: place for name, place in plan.items() if name in own}
    return Part(ref, checkpoint, config, kept, skipped, base=model.base())


def open_tower(ref: str, name: str) -> Part:
    """The encoder of a medium other than text in a checkpoint.

    Args:
        ref: the checkpoint.
        name: of the encoder, for errors.

    Raises:
        UsageError: no such checkpoint, packed weights, no such encoder in it, or several.
        ModelError, WorkError: a config or files that cannot be read, or do not belong together.
    """
    where = f"model.encoders.{name}.model"
    checkpoint = _opened(ref, where)
    whole = checkpoint.model_config
    family = get_family(whole.model_type)
    task = _task(family, whole) or family.task_of(None)
    model = _built(checkpoint, whole, task)
    path, config = _find_tower(ref, type(model.body), model.body.config, where)
    plan, skipped = _matched(checkpoint, model)
    start = ".".join(filter(None, (model.base(), path))) + "."
    with torch.device("meta"):
        tower = get_family(config.model_type).backbone_class().tower_class()(config)
    slots = tower.state_dict(keep_vars=True)
    places = {inner: plan[start + inner] for inner in slots if start + inner in plan}
    own = {
        inner: slots[inner] for inner in slots if inner in places or tower.default(inner) is None
    }
    _require(checkpoint, own, places)
    for parameter, place in plan.items():
        if parameter.removeprefix(start) not in places or not parameter.startswith(start):
            inside = parameter.startswith(f"{model.base()}.")
            beside = f"beside the tower {path}" if path else "not needed for the tower's states"
            skipped[place.name] = beside if inside else f"the head for {task}"
    return Part(ref, checkpoint, config, places, skipped, path)


def _find_tower(
    ref: str, body: type[AnyBackbone], config: BaseConfig, where: str
) -> tuple[str, BaseConfig]:
    """The path of the tower in a model's backbone, and its config."""
    parts = body.part_configs(config)
    if not any(_reads_text(part) for part in parts.values()):
        if body.main != TEXT:
            return body.tower_path(), config
        parts = {}
    towers = {name: part for name, part in parts.items() if not _reads_text(part)}
    if not towers:
        raise UsageError(
            f"{ref} is no encoder of images, audio or the like: {config.model_type} reads text",
            where=where,
            fix="name a tower such as a clip_vision_model, or a model with one",
        )
    if len(towers) > 1:
        raise UsageError(
            f"{ref} has several towers: {', '.join(towers)}",
            where=where,
            fix="save the one that is meant by itself, and name that",
        )
    [(name, part)] = towers.items()
    inner, found = _find_tower(ref, _body(part), part, where)
    return ".".join(filter(None, (name, inner))), found


def _body(config: BaseConfig) -> type[AnyBackbone]:
    return get_family(config.model_type).backbone_class()


def _reads_text(config: BaseConfig) -> bool:
    return _body(config).main == TEXT


def _opened(ref: str, where: str) -> Checkpoint:
    checkpoint = open_ref(ref)
    if method_of(checkpoint):
        raise UsageError(
            f"{ref} has packed weights, which cannot be put together with others",
            where=f"{where}: {checkpoint.path / CONFIG}",
            fix="name a dense checkpoint; tfcli dequantize makes one",
        )
    require_ties(checkpoint)
    return widened(checkpoint)


def _task(family: Family, config: BaseConfig) -> str | None:
    """What a checkpoint was saved for; None for a class that is not known."""
    try:
        return family.task_of(config.architectures)
    except ModelError:
        return None


def _built(checkpoint: Checkpoint, config: BaseConfig, task: str) -> Model:
    """The model of a checkpoint, without memory."""
    try:
        return build(config, task, at_most=checkpoint.most_values)
    except ModelError as error:
        raise located(error, checkpoint.path) from error


def _matched(checkpoint: Checkpoint, model: Model) -> tuple[dict[str, Place], dict[str, str]]:
    """Where each of a model's parameters is, and what of the checkpoint is not needed."""
    account = LoadAccount()
    try:
        slots = model.state_dict(keep_vars=True)
        plan = match_names(model, checkpoint.tensors, slots, account)
    except ModelError as error:
        raise located(error, checkpoint.path) from error
    twice = {name: f"tied to {origin}" for name, origin in account.tied.items() if name in plan}
    skipped = {**checkpoint.unused, **account.skipped}
    skipped |= {plan[name].name: why for name, why in twice.items()}
    return {n: place for n, place in plan.items() if n not in twice}, skipped


def _given(model: Model, name: str) -> bool:
    """Whether a tensor that is not stored follows from others or from the config."""
    return name in model.active_ties() or model.default(name) is not None


def _require(
    checkpoint: Checkpoint, wanted: Mapping[str, torch.Tensor], places: Mapping[str, Place]
) -> None:
    """Refuse a checkpoint that lacks a parameter, or has it in another shape."""
    lacking = [name for name in wanted if name not in places]
    if lacking:
        raise WorkError(
            f"the weights lack {some(lacking)}",
            where=str(checkpoint.path),
            fix="check that the config belongs to these weights",
        )
    wrong = []
    for name, slot in wanted.items():
        place = places[name]
        found, shape = checkpoint.tensors[place.name].shape, tuple(place.write(slot).shape)
        if (found if place.index is None else found[1:]) != shape:
            wrong.append(f"{place.name} is {list(found)}, the config asks for {list(shape)}")
    if wrong:
        raise WorkError(
            f"the weights do not fit the config: {some(wrong, '; ')}",
            where=str(checkpoint.path),
            fix="check that the config belongs to these weights",
        )
