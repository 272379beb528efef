"""What commands share that look at one step of a recipe and run none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from tfcli.commands.help import FILES, OPTIONS
from tfcli.errors import UsageError
from tfcli.recipe.recipe import find_recipe, load_recipe
from tfcli.recipe.spec import Spec

StepName = Annotated[
    str | None,
    typer.Option(
        "--step",
        metavar="STEP",
        help="The step, where several of a recipe could be meant.",
        rich_help_panel=OPTIONS,
    ),
]
StepsFolder = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FOLDER",
        help="The folder of the recipe's steps, where they were run with another one.",
        rich_help_panel=FILES,
    ),
]


def one_step(
    recipe: str,
    name: str | None,
    output: str | None,
    sets: Mapping[str, Any],
    fits: Callable[[Spec], bool],
    *,
    nothing: str,
    fix: str,
    rather: Callable[[Spec], bool] = lambda spec: False,
) -> tuple[str, Spec]:
    """The one step of a recipe that a command is about, with its name.

    Args:
        recipe: a file, or the name of a shipped one.
        name: of the step; None where only one fits.
        output: the folder of the steps, in place of the recipe's.
        sets: values in place of the recipe's.
        fits: whether a step can be meant.
        nothing: what is said of a recipe, or a step, that does not fit.
        fix: what to give in its place.
        rather: of several that fit, which are meant.

    Raises:
        UsageError: none fits, or several.
    """
    path = find_recipe(recipe)
    whole = load_recipe(path, output=output, sets=dict(sets))
    steps = whole.steps if name is None else [whole.steps[whole.named(name, "--step")]]
    found = {each.name: each.spec for each in steps if fits(each.spec)}
    if len(found) > 1:
        found = {label: spec for label, spec in found.items() if rather(spec)} or found
    if not found:
        raise UsageError(f"{name or 'the recipe'} {nothing}", where=str(path), fix=fix)
    if len(found) > 1:
        raise UsageError(
            f"several steps could be meant: {', '.join(found)}",
            where=str(path),
            fix=f"--step {next(iter(found))}",
        )
    return next(iter(found.items()))
