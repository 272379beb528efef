"""What a model's parts say of themselves, collected: rules, names to ignore, new values, blocks.

A backbone names the children that are backbones too (`Backbone.parts`), and each of them the field
of the config that has the child's. A family without parts is the trivial case of everything here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tfcli.models.backbone import Backbone
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.config import BaseConfig
from tfcli.models.registry import get_family
from tfcli.models.rules import Rule, Scoped

AnyBackbone = Backbone[Any]


def part_classes(
    body: type[AnyBackbone], config: BaseConfig
) -> Iterator[tuple[str, type[AnyBackbone], BaseConfig]]:
    """Each part's name, class and config. Nothing is built."""
    for name, nested in body.part_configs(config).items():
        yield name, get_family(nested.model_type).backbone_class(), nested


def part_backbones(body: AnyBackbone) -> Iterator[tuple[str, AnyBackbone]]:
    """Each part's name and module, of those that are there: a task may leave some out."""
    modules = dict(body.named_modules())
    for name in body.part_configs(body.config):
        child = modules.get(name)
        if isinstance(child, Backbone):
            yield name, child


def rules_of(body: type[AnyBackbone], config: BaseConfig) -> tuple[Rule, ...]:
    """The rules of a backbone and its parts, whose names begin with the backbone's prefix.

    A part's rules see the names that it would have by itself.
    """
    found: list[Rule] = []
    for name, part, nested in part_classes(body, config):
        scope, own = f"{body.prefix}.{name}.", f"{part.prefix}."
        found += [Scoped(scope, own, rule) for rule in rules_of(part, nested)]
    return (*found, *body.rules)


def ignorable_of(body: type[AnyBackbone], config: BaseConfig) -> dict[str, str]:
    """Regular expressions on a checkpoint's names -> why the tensor is not needed."""
    found: dict[str, str] = {}
    for _, part, nested in part_classes(body, config):
        # A pattern of a part that is anchored to the beginning is searched after the part's name.
        inner = ignorable_of(part, nested)
        found |= {pattern.replace("^", r"(?:^|\.)", 1): why for pattern, why in inner.items()}
    return found | body.ignorable_for(config)


def owner_of(body: AnyBackbone, name: str) -> tuple[AnyBackbone, str]:
    """The innermost part that has a parameter, and the parameter's name in it."""
    for part, child in part_backbones(body):
        inner = name.removeprefix(f"{part}.")
        if inner != name:
            return owner_of(child, inner)
    return body, name


def walks_of(body: AnyBackbone) -> list[CalibrationWalk]:
    """The chains of blocks with linears that can be quantized, paths from the backbone."""
    found = list(body.own_walks())
    for name, child in part_backbones(body):
        found += [replace(walk, blocks=f"{name}.{walk.blocks}") for walk in walks_of(child)]
    return found


def text_walks_of(body: AnyBackbone) -> list[CalibrationWalk]:
    """Those of `walks_of` that a text runs through: of what takes `input_ids`, not of towers."""
    found = list(body.own_walks()) if body.main == "input_ids" else []
    for name, child in part_backbones(body):
        found += [replace(walk, blocks=f"{name}.{walk.blocks}") for walk in text_walks_of(child)]
    return found


def block_lists_of(body: AnyBackbone) -> list[str]:
    """Paths of the lists of repeated blocks, from the backbone."""
    found = list(body.block_lists())
    for name, child in part_backbones(body):
        found += [f"{name}.{path}" for path in block_lists_of(child)]
    return found
