"""`tfcli run`: the steps of a recipe, one after the other."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from tfcli.commands.options import Debug, Force, Json, Quiet, Sets, Verbose
from tfcli.commands.output import print_json
from tfcli.console import Console
from tfcli.recipe.execute import execute
from tfcli.recipe.overrides import parse_set
from tfcli.recipe.recipe import Recipe, find_recipe, load_recipe
from tfcli.recipe.record import check_inputs
from tfcli.recipe.results import RunResult, StepResult

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command(
    "run",
    help="Run a recipe of several steps. Finished steps are skipped; an interrupted one goes on.",
    epilog="tfcli run quickstart --set steps.train.max_steps=50",
)
def run(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped one.")],
    output: Annotated[
        str | None, typer.Option("--output", help="The folder of the steps' folders.")
    ] = None,
    set_: Sets = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    debug: Debug = False,
) -> None:
    console = Console(quiet, verbose, json)
    plan = load_recipe(find_recipe(recipe), output=output, sets=parse_set(set_ or []))
    _check(plan)
    rows: list[StepResult] = []
    for number, step in enumerate(plan.steps, 1):
        console.note(f"[{number}/{len(plan.steps)}] {step.name} ({step.spec.verb})")
        began = perf_counter()
        outcome = execute(step.spec, console, force=force, replace=True)
        seconds = perf_counter() - began
        if outcome.reused:
            console.note(f"  up to date: {outcome.output}")
        rows.append(
            StepResult(
                step=step.name,
                command=step.spec.verb,
                output=str(outcome.output),
                reused=outcome.reused,
                seconds=round(seconds, 3),
                result=outcome.result.model_dump(mode="json"),
            )
        )
        last = number == len(plan.steps)
        if last:
            _close(plan, rows, console)
        # The last step is shown in any case: a report's path is what the user opens next.
        if not json and (last or not outcome.reused):
            import_module(f"tfcli.commands.{step.spec.verb}").show(outcome.result, console)
    if json:
        result = RunResult(recipe=plan.name, output=plan.output, steps=rows)
        print_json(result.model_dump(mode="json"))


def _close(plan: Recipe, rows: list[StepResult], console: Console) -> None:
    done = sum(not row.reused for row in rows)
    seconds = sum(row.seconds for row in rows)
    console.note(f"{plan.name}: {done} of {len(rows)} steps run in {seconds:.0f} s")


def _check(plan: Recipe) -> None:
    """Every step's inputs, before the first step runs."""
    for index, step in enumerate(plan.steps):
        coming = tuple(str(Path(plan.output) / earlier.name) for earlier in plan.steps[:index])
        check_inputs(step.spec, coming=coming)
