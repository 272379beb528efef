"""The `tfcli` command: dispatch, and the one place where errors become exit codes.

Each subcommand lives in a file of its own that is imported when it is called. `tfcli --help`
imports none of them.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn

import typer

import tfcli
from tfcli.commands.help import Group
from tfcli.console import Console
from tfcli.errors import UsageError, WorkError, hint
from tfcli.recipe.verbs import VERBS

OTHERS = {
    "serve": "Answer over HTTP, as OpenAI's and Anthropic's interfaces do.",
    "run": "Run a recipe of several steps.",
    "sweep": "Run a recipe at every point of a grid.",
    "recipe": "List, show and check recipes; print their JSON Schema.",
    "hub": "List, download and upload files of a model on the hub.",
    "data preview": "Show what a training would learn from, before it begins.",
    "launch": "Write a file that starts a training on Slurm, Kubernetes and others.",
    "estimate": "Say how much memory a step takes in each process.",
    "doctor": "Say what this machine has and what is missing.",
}
ALIASES = {"run-eval": "eval"}
"""Other names of commands."""
COMMANDS = {name: verb.summary for name, verb in VERBS.items()} | OTHERS


class LazyGroup(Group):
    """Imports a subcommand's file when it is called, not when it is listed."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, rest = ALIASES.get(args[0], args[0]), args[1:]
        if " ".join(args[:2]) in COMMANDS:  # what belongs to a verb has two words
            name, rest = " ".join(args[:2]), args[2:]
        if name not in COMMANDS:
            if ctx.resilient_parsing:  # the shell asks for completions of what is typed so far
                return None, None, args[1:]
            raise UsageError(
                f"unknown command {name!r}",
                fix=hint(name, COMMANDS),
                code="usage.unknown_command",
            )
        module = import_module(f"tfcli.commands.{name.replace(' ', '_')}")
        return name, typer.main.get_command(module.app), rest


app = typer.Typer(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A workbench for transformer checkpoints: convert, quantize, train, evaluate, benchmark.",
    epilog="tfcli run quickstart\ntfcli quantize --help\n"
    "Every command takes --help, --json, --quiet, -v and --debug.",
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
    _keep_to_installed_modules()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what a terminal has no letter for is spelt out
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(arguments))


def _share_the_cores() -> None:
    """Let torch's threads wait less long in a loop for each other, which is set before torch loads.

    GNU OpenMP turns 300,000 times before a thread sleeps. With another busy process on the same
    cores, each barrier then costs a time slice, and training ran 20 times slower; with 10,000 it
    shares the cores, and costs nothing measurable alone (docs/benchmarks.md).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def _keep_to_installed_modules() -> None:
    """See to it that no file of the current folder stands in for a module.

    Python puts the folder first on the path of `python -m` and `python -c`, which libraries start
    too (torch's compiler does): the torch.py of a folder that was downloaded would run. Child
    processes read PYTHONSAFEPATH.
    """
    os.environ["PYTHONSAFEPATH"] = "1"
    here, home = os.path.realpath(os.getcwd()), os.path.dirname(tfcli.__path__[0])  # noqa: PTH109, PTH120
    if not sys.flags.safe_path and here != os.path.realpath(home):
        sys.path[:] = [path for path in sys.path if path and os.path.realpath(path) != here]


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
        if console.json:
            from tfcli.commands.output import print_error

            print_error(WorkError("interrupted", code="interrupted"), 130)
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
        from tfcli.commands.problems import as_problem

        problem = as_problem(error)
        print_problem(problem, console)
        return problem.exit_code


def _terminate(_signal: int, _frame: Any) -> NoReturn:
    raise KeyboardInterrupt
