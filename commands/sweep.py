"""`tfcli sweep`: a recipe at every point of a grid, and the best of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
from tfcli.commands.output import finish, print_table
from tfcli.commands.problems import as_problem
from tfcli.commands.run import check_steps, planned, show_plan
from tfcli.console import Console
from tfcli.errors import WorkError
from tfcli.processes import refuse_launcher
from tfcli.recipe.document import Document, read_document
from tfcli.recipe.overrides import parse_lists, parse_set
from tfcli.recipe.owner import claim
from tfcli.recipe.recipe import check_recipe, find_recipe, is_recipe_of_steps
from tfcli.recipe.sweep_section import SweepSection
from tfcli.recipe.validate import build_spec
from tfcli.sweep.figures import require_figure
from tfcli.sweep.files import (
    BEST,
    HTML,
    MARKDOWN,
    refuse_foreign_files,
    write_best,
    write_result,
)
from tfcli.sweep.order import best_first
from tfcli.sweep.page import columns, row, words
from tfcli.sweep.points import Point, plan_points
from tfcli.sweep.result import SweepPoint, SweepResult
from tfcli.sweep.run import Runner, every_step, run_points, to_come

app = typer.Typer(add_completion=False)


def _option(*names: str, metavar: str, help: str) -> Any:
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=OPTIONS)


@app.command(
    "sweep",
    cls=Command,
    help="Run a recipe at every point of a grid, and say which is the best. Points share the steps "
    "that they agree in; a sweep that was stopped goes on; a point that fails is recorded, and the "
    "rest goes on. The flags stand for the recipe's section sweep.",
    epilog="tfcli sweep shrink.yaml --grid steps.small.bits=2,3,4 --by loss.perplexity "
    "--goal lowest --against small.bytes_after\n"
    "tfcli sweep shrink.yaml --dry-run\n" + json_fields(SweepResult),
)
def sweep(
    recipe: RecipeName,
    grid: Annotated[
        list[str] | None,
        _option(
            "--grid",
            metavar="KEY=VALUE,VALUE",
            help="A key and its values; of several such keys, every combination.",
        ),
    ] = None,
    by: Annotated[
        str | None,
        _option("--by", metavar="STEP.FIGURE", help="The figure that says which is the best."),
    ] = None,
    goal: Annotated[
        str | None, _option("--goal", metavar="lowest|highest", help="Which way it is better.")
    ] = None,
    against: Annotated[
        str | None,
        _option("--against", metavar="STEP.FIGURE", help="A second figure, for a plot of both."),
    ] = None,
    against_goal: Annotated[
        str | None,
        _option(
            "--against-goal",
            metavar="lowest|highest",
            help="Which way the second is better; left out, lowest.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="The folder of the steps' folders and of the table; left out, the recipe's with "
            "-sweep behind it.",
            rich_help_panel=FILES,
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
    refuse_launcher("sweep")
    console = Console(quiet, verbose, json)
    file, sets = find_recipe(recipe), parse_set(set_ or [])
    document = read_document(file)
    flags = {"by": by, "goal": goal, "against": against, "against_goal": against_goal}
    whole = check_recipe(document, file.stem, sets=sets, output=output)
    section = _section(document, parse_lists(grid or [], "--grid"), flags)
    root = output or f"{whole.output or f'runs/{whole.name}'}-sweep"
    points = plan_points(document, file.stem, section, root, sets)
    for point in points:
        require_figure(section.by, point.recipe, "by")
        if section.against is not None:
            require_figure(section.against, point.recipe, "against")
    refuse_foreign_files(Path(root))
    plan = every_step(whole.name, root, points)
    check_steps(plan, force)
    own = {step.name for step in plan.steps}
    own -= claim(plan, file, console, force=force, dry_run=dry_run)
    if dry_run:
        finish(planned(plan, force, verify_files), show_plan, console)
        return
    replaceable = {str(step.spec.target()) for step in plan.steps if step.name in own}
    runner = Runner(console, as_problem, force, replaceable, verify_files)
    ended: dict[int, SweepPoint] = {point.number: to_come(point) for point in points}
    for found in run_points(points, section, runner):
        ended[found.number] = found
        result = _result(whole.name, root, section, list(ended.values()))
        write_result(result, Path(root))
    best = result.points[0]
    if result.best is None:
        raise _all_failed(result, points)
    write_best(document, whole.name, sets, best, result, Path(root))
    finish(result, show, console)


def _section(
    document: Document, grid: dict[str, list[Any]], flags: dict[str, str | None]
) -> SweepSection:
    """The recipe's section `sweep`, with what flags give laid over it."""
    values: dict[str, Any] = {}
    if is_recipe_of_steps(document):
        values = dict(document.values.get("sweep") or {})
    values |= {name: value for name, value in flags.items() if value is not None}
    if grid:
        values["grid"] = {**values.get("grid", {}), **grid}
    return build_spec(SweepSection, values, document, ("sweep",))


def _result(name: str, root: str, section: SweepSection, points: list[SweepPoint]) -> SweepResult:
    ordered = best_first(points, section)
    best = ordered[0].number if ordered[0].status == "done" else None
    return SweepResult(
        recipe=name,
        output=root,
        by=section.by,
        goal=section.goal,
        against=section.against,
        against_goal=None if section.against is None else section.against_goal or "lowest",
        points=ordered,
        best=best,
        best_recipe=None if best is None else str(Path(root) / BEST),
        markdown=str(Path(root) / MARKDOWN),
        page=str(Path(root) / HTML),
    )


def _all_failed(result: SweepResult, points: list[Point]) -> WorkError:
    first = result.points[0].error
    assert first is not None, "without a best point all have failed"
    return WorkError(
        f"all {len(points)} points failed; the first: {first.what}",
        where=result.markdown,
        fix=first.fix,
    )


def show(result: SweepResult, console: Console) -> None:
    """The table, best first; the best recipe and the page come last."""
    rows = [row(point, result) for point in result.points]
    title = f"{result.recipe}: the {result.goal} {result.by} first"
    print_table(console, title, columns(result), rows, texts=words(result))
    console.out.print(str(result.best_recipe), soft_wrap=True)
    console.out.print(result.page, soft_wrap=True)
