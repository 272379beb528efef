"""`tfcli launch`: a file that starts a training on machines that others manage."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from tfcli.commands.help import FILES, OPTIONS, Command
from tfcli.commands.options import Debug, Json, Quiet, Verbose, common, json_fields
from tfcli.commands.output import finish, print_facts
from tfcli.console import Console
from tfcli.errors import UsageError
from tfcli.launch.duration import parse_duration
from tfcli.launch.result import LaunchResult
from tfcli.recipe.document import read_document
from tfcli.recipe.recipe import find_recipe, is_recipe_of_steps, load_recipe
from tfcli.train.spec import TrainSpec
from tfcli.units import format_bytes

app = typer.Typer(add_completion=False)


@app.command(
    "launch",
    cls=Command,
    help="Write a file that starts a training with an engine that you have: a Slurm script, a "
    "SkyPilot or dstack task, a Kubernetes job, or a driver for Ray. Nothing is started.",
    epilog="tfcli launch train.yaml --to slurm --nodes 2 --gpus-per-node 8 --time 12h -o job.sh\n"
    "tfcli launch train.yaml --to kubernetes --image registry/tfcli:1 --storage claim\n"
    + json_fields(LaunchResult),
)
def launch(
    recipe: Annotated[str, typer.Argument(help="A recipe of tfcli train.")],
    to: Annotated[
        Literal["slurm", "skypilot", "kubernetes", "dstack", "ray"],
        typer.Option("--to", help="The engine.", rich_help_panel=OPTIONS),
    ],
    nodes: Annotated[
        int, typer.Option("--nodes", metavar="N", min=1, help="Machines.", rich_help_panel=OPTIONS)
    ] = 1,
    gpus_per_node: Annotated[
        int,
        typer.Option(
            "--gpus-per-node",
            metavar="N",
            min=0,
            help="CUDA devices of each, with a process each; 0 trains on the CPU.",
            rich_help_panel=OPTIONS,
        ),
    ] = 1,
    gpu: Annotated[
        str | None,
        typer.Option(
            "--gpu",
            metavar="NAME",
            help="The device's name there, such as H100 (slurm, skypilot, dstack).",
            rich_help_panel=OPTIONS,
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            "--image",
            metavar="IMAGE",
            help="A container image with tfcli (kubernetes, skypilot, dstack).",
            rich_help_panel=OPTIONS,
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            metavar="NAME",
            help="What outlives a machine: a claim (kubernetes), a bucket's address (skypilot), a "
            "volume (dstack).",
            rich_help_panel=OPTIONS,
        ),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            "--time",
            metavar="TIME",
            help="The longest that it runs: 90m, 1d12h or 12:00:00.",
            rich_help_panel=OPTIONS,
        ),
    ] = None,
    grace: Annotated[
        str,
        typer.Option(
            "--grace",
            metavar="TIME",
            help="Time between the signal to stop and the end, for a step and a checkpoint.",
            rich_help_panel=OPTIONS,
        ),
    ] = "2m",
    max_restarts: Annotated[
        int,
        typer.Option(
            "--max-restarts",
            metavar="N",
            min=0,
            help="How often processes that fail are started again.",
            rich_help_panel=OPTIONS,
        ),
    ] = 3,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The file to write; - is standard output.",
            rich_help_panel=FILES,
        ),
    ] = "-",
    force: Annotated[bool, common("--force", help="Replace the file.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    debug: Debug = False,
) -> None:
    path = find_recipe(recipe)
    seconds = None if time is None else parse_duration(time, "--time")
    longest = parse_duration(grace, "--grace")
    if seconds is not None and longest >= seconds:
        raise UsageError(
            f"--grace {grace} is no shorter than --time {time}",
            where="--grace",
            fix="the signal comes that long before the end",
        )
    spec = _training(path)
    from tfcli.launch.run import Request, launch

    console = Console(quiet, verbose, json)
    request = Request(to, nodes, gpus_per_node, seconds, longest, max_restarts, gpu, image, storage)
    finish(launch(path, spec, request, output, console, force=force), show, console)


def show(result: LaunchResult, console: Console) -> None:
    """The file itself, or where it is and how it is started."""
    if result.output is None:
        sys.stdout.write(result.text)
        return
    facts = {
        "for": result.engine,
        "job": result.name,
        "processes": f"{result.processes} on {result.nodes} machines",
        "memory": f"{format_bytes(result.memory)} in each process, "
        f"{format_bytes(result.host_memory)} of main memory on each machine",
        "start": result.start,
    }
    print_facts(console, result.output, facts)


def _training(path: Path) -> TrainSpec:
    """The training of a recipe.

    Raises:
        UsageError: it is of several steps, or of another command.
    """
    if is_recipe_of_steps(read_document(path)):
        raise UsageError(
            "a recipe of steps is for one process, and launchers start several",
            where=str(path),
            fix="write the training as a recipe of its own: command: train",
            code="recipe.wrong_kind",
        )
    spec = load_recipe(path).steps[0].spec
    if not isinstance(spec, TrainSpec):
        raise UsageError(
            f"this recipe is for {spec.verb!r}, and trainings are launched",
            where=str(path),
            fix="name a recipe of tfcli train",
            code="recipe.wrong_kind",
        )
    return spec
