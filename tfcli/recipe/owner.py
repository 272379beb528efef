"""Which recipe file made each of the steps in a folder.

Two recipe files of one name have one default output, `runs/NAME`. A recipe replaces what it made
itself; what another one made it may use where nothing of it has changed. The folder keeps the
files' paths as they are from there, so that a project may be moved as a whole.
"""

from __future__ import annotations

import os
from pathlib import Path

from tfcli.checkpoints.strict_json import read_json
from tfcli.console import Console
from tfcli.errors import UsageError, WorkError
from tfcli.files import write_json
from tfcli.recipe.foresee import foresee
from tfcli.recipe.place import Place
from tfcli.recipe.recipe import SHIPPED, Recipe

OWNERS = ".recipes.json"
"""The file in the folder of the steps' folders; no step has a name like it."""
_SHIPPED = "tfcli:"
"""What stands before the name of a recipe that comes with tfcli, which has no path to keep."""


def claim(
    recipe: Recipe, file: Path, console: Console, *, force: bool, dry_run: bool
) -> frozenset[str]:
    """Note in the recipe's folder which steps this file makes from now on.

    Args:
        file: the recipe's.
        force: what other recipes made may be replaced; it is this one's then.
        dry_run: note nothing.

    Returns:
        The steps that are another recipe's: they may be used, and not replaced.

    Raises:
        UsageError: one of those would be replaced.
    """
    root = Path(recipe.output)
    here, known = _name(file, root), _read(root)
    others = {
        step.name: owner
        for step in recipe.steps
        if (owner := known.get(step.name, here)) != here and _is_begun(str(step.spec.target()))
    }
    for name, owner in list(others.items()):
        gone = not owner.startswith(_SHIPPED) and not (root / owner).exists()
        if gone and not force:
            console.warn(
                f"{root / name} was made by {_shown(owner, root)}, which is not there any more; "
                f"from now on it is a step of {file}"
            )
        if gone or force:
            del others[name]
    if others:
        _refuse_to_replace(recipe, file, {name: _shown(others[name], root) for name in others})
    now = {step.name: here for step in recipe.steps if step.name not in others}
    if known | now != known and not dry_run:
        _write(root, known | now, console)
    return frozenset(others)


def _is_begun(target: str) -> bool:
    place = Place.of(target)
    return place.output.exists() or place.partial.exists()


def _refuse_to_replace(recipe: Recipe, file: Path, others: dict[str, str]) -> None:
    for step, plan in zip(recipe.steps, foresee(recipe), strict=True):
        if plan == "run again" and step.name in others:
            raise UsageError(
                f"{step.spec.target()} was made by another recipe: {others[step.name]}",
                where=str(file),
                fix="give this one an output of its own (--output FOLDER, or `output:` or `name:` "
                "in the file), or --force to replace the steps of the other",
                code="output.other_recipe",
            )


def _name(file: Path, root: Path) -> str:
    real = Path(os.path.realpath(file))
    if real.parent == Path(os.path.realpath(SHIPPED)):
        return _SHIPPED + real.stem
    return os.path.relpath(real, os.path.realpath(root))


def _shown(name: str, root: Path) -> str:
    if name.startswith(_SHIPPED):
        return f"{name.removeprefix(_SHIPPED)}, which comes with tfcli"
    return os.path.relpath(os.path.normpath(Path(os.path.realpath(root), name)))


def _read(root: Path) -> dict[str, str]:
    path = root / OWNERS
    try:
        values = read_json(path) if path.is_file() else {}
    except WorkError:
        return {}  # cut short as the machine went off
    known = isinstance(values, dict) and all(isinstance(name, str) for name in values.values())
    return values if known else {}


def _write(root: Path, owners: dict[str, str], console: Console) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        write_json(root / OWNERS, owners)
    except OSError as error:
        # What is finished may lie where nothing can be written; a step that must, says so itself.
        console.detail(f"{root / OWNERS} could not be written: {error.strerror}")
