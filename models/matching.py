"""Which tensor of a checkpoint is which parameter, with an account of those that are neither."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch

from tfcli.models.errors import ModelError
from tfcli.models.model import Model
from tfcli.models.rules import Place, current_name


@dataclasses.dataclass
class LoadAccount:
    """What became of every tensor.

    Args:
        loaded: names in the model that were filled from the checkpoint.
        tied: name in the model -> the name that it shares.
        skipped: name in the checkpoint -> why it is not needed.
        initialized: names in the model that were given new random values on request.
        computed: names of buffers that the checkpoint leaves out and the config gives.
        cast: name in the model -> the dtype it had in the checkpoint, where that was changed.
    """

    loaded: list[str] = dataclasses.field(default_factory=list)
    tied: dict[str, str] = dataclasses.field(default_factory=dict)
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)
    initialized: list[str] = dataclasses.field(default_factory=list)
    computed: list[str] = dataclasses.field(default_factory=list)
    cast: dict[str, torch.dtype] = dataclasses.field(default_factory=dict)


def match_names(
    model: Model,
    source: Iterable[str],
    expected: Mapping[str, torch.Tensor],
    account: LoadAccount,
) -> dict[str, Place]:
    """Model name -> where this checkpoint keeps it, in the checkpoint's order.

    Fills in tied and skipped. Where nothing of the model's own head is there, another task's head
    is skipped too.
    """
    stored = current_names(model, source)
    plan: dict[str, Place] = {}
    used: set[str] = set()
    prefix = f"{model.base()}."
    for name in expected:
        place = model.place_of(name)
        candidates = dict.fromkeys((place.name, place.name.removeprefix(prefix)))
        found = [spelt for spelt in candidates if spelt in stored]
        if len(found) > 1:
            raise _twice(model, found[0], stored[found[0]], stored[found[1]])
        if found:
            plan[name] = replace(place, name=stored[found[0]])
            used.add(found[0])
    ties = model.active_ties()
    head = [name for name in expected if not name.startswith(prefix) and name not in ties]
    headless = model.headless or (bool(head) and not any(name in plan for name in head))
    another_head = headless and any(name.startswith(prefix) for name in stored)
    unexpected = []
    for name, spelt in stored.items():
        if name in used:
            continue
        reason = _not_needed(model, name, another_head=another_head)
        if reason is None:
            unexpected.append(spelt)
        else:
            account.skipped[spelt] = reason
    if unexpected:
        raise ModelError(
            f"the checkpoint holds {some(unexpected)}, which the model has no place for",
            where=type(model).__name__,
            fix="check model_type and the task",
        )
    for name, origin in ties.items():
        if name in plan and origin not in plan:
            plan[origin] = plan.pop(name)
        if origin in plan:
            account.tied[name] = origin
    order = {name: position for position, name in enumerate(stored.values())}
    return dict(sorted(plan.items(), key=lambda item: order[item[1].name]))


def check_ties(
    model: Model, source: Mapping[str, torch.Tensor], plan: dict[str, Place], account: LoadAccount
) -> None:
    """Drop the second of two equal tied tensors from the plan; refuse two that differ.

    Where the family's configs do not say which is meant, two that differ are kept apart.
    """
    for name, origin in list(account.tied.items()):
        if name not in plan:
            continue
        place, kept = plan[name], plan[origin]
        first, second = kept.read(source[kept.name]), place.read(source[place.name])
        if first.dtype == second.dtype and torch.equal(first, second):
            del plan[name]
        elif model.may_untie(name):
            model.untie()
            del account.tied[name]
        else:
            raise ModelError(
                f"{place.name} and {kept.name} differ, but the config ties them",
                where=type(model).__name__,
                fix="set tie_word_embeddings: false in config.json",
            )


def current_names(model: Model, source: Iterable[str]) -> dict[str, str]:
    """Today's spelling of every name of a checkpoint -> the checkpoint's own."""
    stored: dict[str, str] = {}
    others = model.other_names()
    for spelt in source:
        name = current_name(model.rules(), spelt)
        name = others.get(name, name)
        if name in stored:
            raise _twice(model, name, stored[name], spelt)
        stored[name] = spelt
    return stored


def _twice(model: Model, name: str, first: str, second: str) -> ModelError:
    return ModelError(
        f"the checkpoint holds {name} twice, as {first} and as {second}",
        where=type(model).__name__,
        fix="remove one of them",
    )


def _not_needed(model: Model, name: str, *, another_head: bool) -> str | None:
    """Why a tensor that no parameter wants may be left out; None if it may not."""
    for pattern, why in model.ignorable().items():
        if re.search(pattern, name):
            return why
    inner = name.removeprefix(f"{model.base()}.")
    if model.body_class.optional and inner.startswith(model.body_class.optional):
        return f"{model.task} does not use it"
    return "part of another task's head" if another_head and inner == name else None


def some(names: list[str], separator: str = ", ") -> str:
    """The first names and how many more there are."""
    shown = separator.join(names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown
