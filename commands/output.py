"""How a command ends: a short table or one JSON object on stdout, or an error on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from tfcli.console import Console, shown
from tfcli.errors import Problem, SeveralProblemsError

if TYPE_CHECKING:
    from tfcli.recipe.spec import Result

Show = Callable[[Any, Console], None]


def finish(result: Result, show: Show, console: Console) -> None:
    """Print a result the way the user asked for."""
    if console.json:
        print_json(result.model_dump(mode="json"))
    else:
        show(result, console)


def print_json(value: dict[str, Any]) -> None:
    """One JSON object, on one line, on stdout; characters that are commands are escaped."""
    ascii = not (sys.stdout.encoding or "").lower().startswith("utf")
    text = json.dumps(value, ensure_ascii=ascii, allow_nan=False)
    if not text.isprintable():
        text = "".join(c if shown(c) else json.dumps(c)[1:-1] for c in text)
    print(text)  # noqa: T201 - stdout is the product


def print_table(
    console: Console,
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    texts: int = 1,
) -> None:
    """A table on stdout; the first `texts` columns are text, the others are figures."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        justify: Literal["left", "right"] = "left" if index < texts else "right"
        table.add_column(column, justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.out.print(table)


def print_facts(console: Console, title: str, facts: dict[str, str]) -> None:
    """A list of named facts on stdout."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value)
    console.out.print(table)


def print_error(problem: Problem, exit_code: int) -> None:
    """The JSON of a command that failed."""
    from tfcli.recipe.results import ErrorBody, ErrorPart, ErrorResult

    several = problem.problems if isinstance(problem, SeveralProblemsError) else (problem,)
    parts = [ErrorPart(code=p.code, what=p.what, where=p.where, fix=p.fix) for p in several]
    body = ErrorBody(
        code=problem.code,
        what=problem.what,
        where=problem.where,
        fix=problem.fix,
        step=problem.step,
        errors=parts,
    )
    print_json(ErrorResult(exit_code=exit_code, error=body).model_dump(mode="json"))


def print_problem(problem: Problem, console: Console) -> None:
    """What is wrong, where, and how to fix it."""
    if console.json:
        print_error(problem, problem.exit_code)
    lines = [("error:", problem.what, "bold red")]
    lines += [(" step:", problem.step, "bold")] if problem.step else []
    lines += [("where:", problem.where, "bold")] if problem.where else []
    lines += [("  fix:", problem.fix, "bold green")] if problem.fix else []
    for label, text, style in lines:
        console.err.print(label, style=style, end=" ")
        console.err.print(text, soft_wrap=True)
