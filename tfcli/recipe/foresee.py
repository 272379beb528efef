"""What a recipe's steps would do, without doing it: for `tfcli run --dry-run`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tfcli.recipe.digests import InputDigests
from tfcli.recipe.recipe import Recipe
from tfcli.recipe.record import is_intact, is_ours, read_record, step_key
from tfcli.recipe.spec import READ, Spec, paths_with_role

Plan = Literal["run", "run again", "up to date"]
"""`run`: nothing is there, or an interrupted run, which goes on; `run again`: options, inputs or
files changed."""


def foresee(recipe: Recipe, *, force: bool = False, anew: bool = False) -> list[Plan]:
    """What each step would do. Inputs are hashed where that decides it; nothing else is read, and
    nothing is fetched or run.

    Args:
        force: every step is run.
        anew: see `execute`.
    """
    plans: list[Plan] = []
    renewed: list[str] = []  # folders that earlier steps make anew
    for step in recipe.steps:
        plan = _foresee(step.spec, renewed, force, anew)
        plans.append(plan)
        target = step.spec.target()
        if plan != "up to date" and target is not None:
            renewed.append(target)
    return plans


def _foresee(spec: Spec, renewed: list[str], force: bool, anew: bool) -> Plan:
    target = spec.target()
    if target is None or not is_ours(Path(target)):
        return "run"
    record = read_record(Path(target))
    inputs = [value for role in READ for _, value in paths_with_role(spec, role)]
    changed = force or any(Path(v).is_relative_to(folder) for v in inputs for folder in renewed)
    if changed or record is None:
        return "run again"
    if record["key"] != step_key(spec, InputDigests(spec, anew=anew)):
        return "run again"
    return "up to date" if is_intact(Path(target), record, anew=anew) else "run again"
