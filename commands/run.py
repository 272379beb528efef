"""`tfcli run`: the steps of a recipe, one after the other."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from tfcli.commands.help import FILES, OPTIONS, Command
from tfcli.commands.options import (
    Debug,
    DryRun,
    Force,
    Json,
    Quiet,
    RecipeName,
    Sets,
    Verbose,
    VerifyFiles,
    json_fields,
)
from tfcli.commands.output import finish, print_json, print_table
from tfcli.commands.problems import as_problem
from tfcli.console import Console
from tfcli.errors import WorkError
from tfcli.processes import is_first_process
from tfcli.recipe.apart import check_apart
from tfcli.recipe.execute import Outcome, check_processes, execute
from tfcli.recipe.foresee import foresee
from tfcli.recipe.overrides import parse_set
from tfcli.recipe.owner import claim
from tfcli.recipe.place import Place, refuse_foreign, refuse_users_files, users_files
from tfcli.recipe.recipe import Recipe, Step, find_recipe, load_recipe
from tfcli.recipe.record import check_inputs
from tfcli.recipe.results import PlannedStep, RunPlanResult, RunResult, StepResult
from tfcli.units import plural

app = typer.Typer(add_completion=False)


@app.command(
    "run",
    cls=Command,
    help="Run a recipe, of several steps or for one command. Finished steps are skipped; an "
    "interrupted training goes on.",
    epilog="tfcli run quickstart --set steps.train.max_steps=50\n"
    "tfcli run quickstart --from train --dry-run\n" + json_fields(RunResult),
)
def run(
    recipe: RecipeName,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="The folder of the steps' folders.",
            rich_help_panel=FILES,
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="STEP", help="Run this step alone.", rich_help_panel=OPTIONS
        ),
    ] = None,
    begin: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="STEP", help="Begin with this step.", rich_help_panel=OPTIONS
        ),
    ] = None,
    dry_run: DryRun = False,
    set_: Sets = None,
    force: Force = False,
    verify_files: VerifyFiles = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    debug: Debug = False,
) -> None:
    first = is_first_process()
    console = Console(quiet or not first, verbose, json)
    file = find_recipe(recipe)
    whole = load_recipe(file, output=output, sets=parse_set(set_ or []))
    plan = whole.part(only or (), begin)
    check_steps(plan, force)
    own = {step.name for step in plan.steps} if plan.owns_folders else set()
    if own and first:
        own -= claim(plan, file, console, force=force, dry_run=dry_run)
    if dry_run:
        for name, code in plan.family_files.items():
            console.note(f"{name}: has a family_file, which is run with the step: {code}")
        finish(planned(plan, force, verify_files), show_plan, console)
        return
    result = run_steps(plan, console, force=force, own=own, anew=verify_files)
    if json and first:
        print_json(result.model_dump(mode="json"))


def run_steps(
    plan: Recipe, console: Console, *, force: bool, own: set[str], anew: bool
) -> RunResult:
    """Run the steps of a recipe; what the last one made is shown.

    Args:
        plan: that has passed `check_steps`.
        console: says which step runs.
        force: run those too that are up to date.
        own: the steps whose folders may be replaced, where their options have changed.
        anew: read all files again before a step is said to be up to date.
    """
    rows: list[StepResult] = []
    for number, step in enumerate(plan.steps, 1):
        console.note(f"[{number}/{len(plan.steps)}] {step.name} ({step.spec.verb})")
        began = perf_counter()
        outcome = _run_step(step, console, force, replace=step.name in own, anew=anew)
        seconds = perf_counter() - began
        if outcome.reused:
            console.note(f"  up to date: {outcome.output}")
        rows.append(
            StepResult(
                step=step.name,
                command=step.spec.verb,
                output=None if outcome.output is None else str(outcome.output),
                reused=outcome.reused,
                seconds=round(seconds, 3),
                result=outcome.result.model_dump(mode="json"),
            )
        )
        last = number == len(plan.steps)
        if last:
            _close(plan, rows, console)
        # The last step is shown in any case: a report's path is what the user opens next.
        if is_first_process() and not console.json and (last or not outcome.reused):
            import_module(f"tfcli.commands.{step.spec.verb}").show(outcome.result, console)
    return RunResult(recipe=plan.name, output=plan.output, steps=rows)


def _run_step(step: Step, console: Console, force: bool, *, replace: bool, anew: bool) -> Outcome:
    try:
        outcome = execute(step.spec, console, force=force, replace=replace, anew=anew)
        finding = outcome.result.finding()
        if finding is not None:
            raise WorkError(finding, where=None if outcome.output is None else str(outcome.output))
        return outcome
    except KeyboardInterrupt:
        console.note(f"in step {step.name}; run it again: finished steps are skipped")
        raise
    except Exception as error:
        problem = as_problem(error)
        problem.step = step.name
        raise problem from error


def _close(plan: Recipe, rows: list[StepResult], console: Console) -> None:
    done = sum(not row.reused for row in rows)
    seconds = sum(row.seconds for row in rows)
    console.note(f"{plan.name}: {done} of {plural(len(rows), 'step')} run in {seconds:.0f} s")


def check_steps(plan: Recipe, force: bool) -> None:
    """Look at every step's inputs, processes and output, before the first step runs.

    Raises:
        Problem: what is wrong, with the step's name.
    """
    targets = [target for step in plan.steps if (target := step.spec.target()) is not None]
    coming: list[str] = []
    for step in plan.steps:
        try:
            check_processes(step.spec)
            check_inputs(step.spec, coming=tuple(coming))
            check_apart(step.spec, targets, coming=coming)
            for target in filter(None, [step.spec.target()]):
                refuse_foreign(Place.of(target, is_file=step.spec.suffix is not None))
        except Exception as error:
            problem = as_problem(error)
            problem.step = step.name
            raise problem from error
        coming += filter(None, [step.spec.target()])
    if not any(users_files(Path(target)) for target in targets):
        return
    for step, what in zip(plan.steps, foresee(plan, force=force), strict=True):
        target = step.spec.target()
        if target is not None and what == "run again":
            refuse_users_files(Path(target))


def planned(plan: Recipe, force: bool, anew: bool) -> RunPlanResult:
    """What each step of a recipe would do."""
    steps = [
        PlannedStep(step=step.name, command=step.spec.verb, output=step.spec.target(), plan=what)
        for step, what in zip(plan.steps, foresee(plan, force=force, anew=anew), strict=True)
    ]
    return RunPlanResult(recipe=plan.name, output=plan.output, steps=steps)


def show_plan(result: RunPlanResult, console: Console) -> None:
    """A table of the steps and what they would do."""
    rows = [[step.step, step.command, step.plan, step.output or ""] for step in result.steps]
    title = f"{result.recipe}: nothing is run"
    print_table(console, title, ["step", "command", "would", "folder"], rows, texts=4)
