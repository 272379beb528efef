"""The `tfcli` command: dispatch, and the one place where errors become exit codes.

Each subcommand lives in a file of its own that is imported when it is called. `tfcli --help`
imports none of them.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

import tfcli
from tfcli.console import Console
from tfcli.errors import Problem, UsageError, WorkError, hint
from tfcli.recipe.verbs import VERBS

OTHERS = {
    "run": "Run a recipe of several steps.",
    "recipe": "List, show and check recipes; print their JSON Schema.",
    "hub": "List, download and upload files of a model on the hub.",
    "doctor": "Say what this machine has and what is missing.",
}
COMMANDS = {name: verb.summary for name, verb in VERBS.items()} | OTHERS


class LazyGroup(TyperGroup):
    """Imports a subcommand's file when it is called, not when it is listed."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name = args[0]
        if name not in COMMANDS:
            raise UsageError(f"unknown command {name!r}", fix=hint(name, COMMANDS))
        module = import_module(f"tfcli.commands.{name}")
        return name, typer.main.get_command(module.app), args[1:]


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A workbench for transformer checkpoints: convert, quantize, train, evaluate, benchmark.",
    epilog="Start with [cyan]tfcli run quickstart[/cyan]. Every command takes --help and --json.",
)
for _name, _summary in COMMANDS.items():
    app.command(_name, help=_summary)(lambda: None)  # listed by --help; LazyGroup runs the real one


def _print_version(asked: bool) -> None:
    if asked:
        print(f"tfcli {tfcli.__version__}")  # noqa: T201
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Options that stand before the subcommand."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command line and exit: 0 done, 1 the work failed, 2 wrong usage, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    signal.signal(signal.SIGTERM, _terminate)
    _share_the_cores()
    sys.exit(run(arguments))


def _share_the_cores() -> None:
    """Let torch's threads wait less long in a loop for each other, which is set before torch loads.

    GNU OpenMP turns 300,000 times before a thread sleeps. With another busy process on the same
    cores, each barrier then costs a time slice, and training ran 20 times slower; with 10,000 it
    shares the cores, and costs nothing measurable alone (docs/benchmarks.md).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit code."""
    console = Console(json="--json" in arguments)
    debug = "--debug" in arguments
    try:
        code = app(arguments, prog_name="tfcli", standalone_mode=False)
        if code == 130:  # typer turns Ctrl-C into this code, without a word
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except KeyboardInterrupt:
        console.err.print("interrupted", style="bold red")
        return 130
    except (BrokenPipeError, SystemExit) as error:
        # The reader of our output went away, as `tfcli ... | head` does; that is no failure. click
        # makes an exit of it.
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the boundary: every error becomes a message
        if debug:
            console.err.print_exception(show_locals=False)
        from tfcli.commands.output import print_problem

        problem = _as_problem(error)
        print_problem(problem, console)
        return problem.exit_code


def _terminate(_signal: int, _frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def _as_problem(error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    if hasattr(error, "format_message"):  # what typer raises for flags it cannot read
        message = error.format_message().rstrip(".").replace("Value error, ", "")
        return UsageError(message, fix="see --help")
    if isinstance(error, OSError) and error.strerror:
        return WorkError(error.strerror.lower(), where=str(error.filename or ""))
    kind = type(error).__name__
    return WorkError(
        f"unexpected {kind}: {error}", fix="run it again with --debug and report the traceback"
    )
