"""The points of a sweep, and the recipe of each, whose like steps have one folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from tfcli.errors import UsageError, raise_found
from tfcli.recipe.document import Document
from tfcli.recipe.recipe import (
    REFERENCE,
    Recipe,
    canonical_sets,
    check_recipe,
    is_recipe_of_steps,
    single_command,
    with_sets,
)
from tfcli.recipe.sweep_section import SweepSection

Settings = dict[str, Any]
"""Dotted key -> its value, of one point."""


@dataclass(frozen=True)
class Point:
    """One run of the recipe.

    Args:
        number: from 1, in the order in which they run.
        settings: what it sets.
        recipe: the steps, in folders that it may share with other points.
    """

    number: int
    settings: Settings
    recipe: Recipe


def plan_points(
    document: Document, name: str, section: SweepSection, root: str, sets: Settings
) -> list[Point]:
    """Every point with its recipe, checked.

    Args:
        document: the recipe's.
        name: of a recipe that has none.
        section: the points.
        root: the folder of the steps' folders.
        sets: dotted overrides that all points have.

    Raises:
        UsageError: a key that is no step's, or everything that is wrong with any point, by its
            settings.
    """
    points: list[Point] = []
    found: list[UsageError] = []
    for settings in settings_of(document, section):
        try:
            recipe = _recipe_of(document, name, root, sets, settings)
        except UsageError as error:
            error.what = f"at {shown(settings)}: {error.what}"
            found.append(error)
        else:
            points.append(Point(len(points) + 1, settings, recipe))
    raise_found(found, where=document.source)
    return points


def settings_of(document: Document, section: SweepSection) -> list[Settings]:
    """What each point sets: the combinations of the grid, then the points by themselves, each
    once."""
    grid = canonical_sets(document, section.grid)
    combinations = product(*grid.values()) if grid else ()
    found = [dict(zip(grid, values, strict=True)) for values in combinations]
    found += [canonical_sets(document, settings) for settings in section.points]
    for settings in found:
        for key in settings:
            _require_a_steps_key(document, key)
    once: dict[str, Settings] = {}
    for settings in found:
        once.setdefault(json.dumps(settings, sort_keys=True, default=str), settings)
    return list(once.values())


def shown(settings: Settings) -> str:
    """`train.lr 0.001, small.bits 4`: the settings in a line; the recipe's own values have none."""
    parts = [f"{short_key(key)} {value_text(value)}" for key, value in settings.items()]
    return ", ".join(parts) or "the recipe as it is"


def short_key(key: str) -> str:
    """A dotted key without the word that all keys of steps begin with."""
    return key.removeprefix("steps.")


def value_text(value: Any) -> str:
    """A value as a recipe has it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _require_a_steps_key(document: Document, key: str) -> None:
    if is_recipe_of_steps(document):
        wrong, fix = not key.startswith("steps."), "begin with the step: steps.train.max_steps"
    else:
        wrong, fix = key in ("command", "description"), "give a key of the command"
    if wrong or key.rpartition(".")[2] == "output":
        raise UsageError(
            f"{key!r} cannot be swept: a sweep varies the options of steps, and gives each its "
            "folder",
            where=document.source,
            fix=fix if wrong else "leave it out",
            code="usage.wrong_value",
        )


def _recipe_of(
    document: Document, name: str, root: str, sets: Settings, settings: Settings
) -> Recipe:
    all_sets = sets | settings
    if not is_recipe_of_steps(document):
        verb = single_command(document)[0]
        output = f"{root}/{_folder(verb, settings)}"
        return check_recipe(document, name, output=output, sets=all_sets)
    steps = with_sets(document, all_sets)["steps"]
    folders = _folders(steps, settings) if isinstance(steps, dict) else {}
    return check_recipe(document, name, output=root, sets=all_sets, folders=folders)


def _folders(steps: Mapping[str, Any], settings: Settings) -> dict[str, str]:
    """Step -> its folder, which is named after what decides it: the settings of the step and of
    those that it reads from. So points that agree in these share it."""
    decided: dict[str, Settings] = {}
    for step, values in steps.items():
        own = {
            key: each for key, each in settings.items() if f"{key}.".startswith(f"steps.{step}.")
        }
        for read in REFERENCE.findall(json.dumps(values, default=str)):
            own |= decided.get(read, {})
        decided[step] = own
    return {step: _folder(step, own) for step, own in decided.items()}


def _folder(step: str, settings: Settings) -> str:
    if not settings:
        return step
    text = json.dumps(settings, sort_keys=True, default=str)
    return f"{step}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
