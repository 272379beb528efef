"""`tfcli estimate`: the memory of a step in each process, before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tfcli.commands.help import OPTIONS, Command
from tfcli.commands.one_step import StepName, StepsFolder, one_step
from tfcli.commands.options import Debug, Json, Quiet, Sets, Verbose, json_fields
from tfcli.commands.output import finish, print_facts, print_table
from tfcli.console import Console
from tfcli.errors import UsageError
from tfcli.estimate.result import EstimateChange, EstimateResult
from tfcli.recipe.overrides import parse_set
from tfcli.recipe.recipe import SUFFIXES
from tfcli.recipe.spec import Spec
from tfcli.units import format_bytes, format_count, parse_bytes, plural

app = typer.Typer(add_completion=False)
COUNTED = ("train", "quantize", "generate", "eval")
NAMES = {
    "frozen": "frozen model",
    "optimizer": "optimizer state",
    "cache": "keys and values",
    "allocator": "holes of the heap",
    "runtime": "program, measured here",
}


@app.command(
    "estimate",
    cls=Command,
    help="Say how much memory a step takes in each process: a recipe's train, quantize, generate "
    "or eval, or a model that reads texts. Only headers are read.",
    epilog="tfcli estimate train.yaml --world-size 64 --strategy zero3\n"
    "tfcli estimate train.yaml --memory 24GB\ntfcli estimate org/name --context 8192\n"
    + json_fields(EstimateResult),
)
def estimate(
    recipe: Annotated[
        str, typer.Argument(help="A recipe file, the name of a shipped one, or a model.")
    ],
    step: StepName = None,
    world_size: Annotated[
        int | None,
        typer.Option(
            "--world-size",
            metavar="N",
            min=1,
            help="Processes that train together (default: 1).",
            rich_help_panel=OPTIONS,
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            "--strategy",
            metavar="NAME",
            help="How they share the work, in place of the recipe's.",
            rich_help_panel=OPTIONS,
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            "--memory",
            metavar="SIZE",
            help="What each process has, as 24GB: says what to change where that is not enough.",
            rich_help_panel=OPTIONS,
        ),
    ] = None,
    device: Annotated[
        Literal["cpu", "cuda"] | None,
        typer.Option(
            "--device",
            help="Count for such a device (default: the recipe's, on this machine).",
            rich_help_panel=OPTIONS,
        ),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(
            "--context",
            metavar="N",
            min=1,
            help="Tokens of a text, of a model (default: the model's longest).",
            rich_help_panel=OPTIONS,
        ),
    ] = None,
    batch_size: Annotated[
        int,
        typer.Option(
            "--batch-size", min=1, help="Texts at once, of a model.", rich_help_panel=OPTIONS
        ),
    ] = 1,
    output: StepsFolder = None,
    set_: Sets = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    debug: Debug = False,
) -> None:
    console = Console(quiet, verbose, json)
    room = None if memory is None else _size(memory)
    sets = parse_set(set_ or [])
    if _is_recipe(recipe):
        spec = counted_step(recipe, step, output, sets, strategy)
        from tfcli.estimate.run import Question, estimate
        from tfcli.families import load_family_file

        family_file = getattr(spec, "family_file", None)
        if family_file is not None:
            load_family_file(family_file)
        finish(estimate(spec, Question(world_size, device, room), console), show, console)
        return
    for flag, given in (("--step", step), ("--strategy", strategy), ("--world-size", world_size)):
        if given is not None:
            raise UsageError(
                f"{flag} is of a recipe, and {recipe} is a model", where=flag, fix="leave it out"
            )
    from tfcli.estimate.run import Question, estimate_model

    question = Question(None, device, room)
    finish(estimate_model(recipe, context, batch_size, question), show, console)


def show(result: EstimateResult, console: Console) -> None:
    """The parts, the sum, and what to change."""
    facts = {"parameters": format_count(result.parameters)}
    if result.trainable is not None and result.trainable != result.parameters:
        facts["parameters"] += f", {format_count(result.trainable)} trained"
    if result.strategy is not None:
        facts["strategy"] = f"{result.strategy}, {plural(result.processes, 'process')}"
        facts["precision"] = f"{result.precision} on {result.device}"
    print_facts(console, f"Memory of {result.what}", facts)
    rows = [[NAMES.get(part.name, part.name), format_bytes(part.bytes)] for part in result.parts]
    rows.append(["in each process", format_bytes(result.bytes)])
    print_table(console, "", ["part", "size"], rows)
    for note in result.notes:
        console.out.print(note)
    if result.memory is not None:
        _show_fit(result, result.memory, console)


def _show_fit(result: EstimateResult, memory: int, console: Console) -> None:
    if result.fits:
        console.out.print(f"It fits into {format_bytes(memory)}.")
        return
    console.out.print(f"It does not fit into {format_bytes(memory)}.")
    if not result.changes:
        console.out.print("No change that is known makes it smaller.")
        return
    rows = [
        [_keys(change), str(change.processes), format_bytes(change.bytes), _fits(change)]
        for change in result.changes
    ]
    print_table(console, "With changes", ["keys", "processes", "size", ""], rows)


def _keys(change: EstimateChange) -> str:
    return ", ".join(
        f"{key}: {str(value).lower() if isinstance(value, bool) else value}"
        for key, value in change.keys.items()
    )


def _fits(change: EstimateChange) -> str:
    return "fits" if change.fits else ""


def _size(text: str) -> int:
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise UsageError(str(error), where="--memory", fix="write 24GB") from None


def _is_recipe(name: str) -> bool:
    """Whether a word names a recipe: by its ending, or as one that is shipped."""
    from tfcli.recipe.recipe import shipped_recipes

    return Path(name).suffix in SUFFIXES or name in shipped_recipes()


def counted_step(
    recipe: str,
    name: str | None,
    output: str | None,
    sets: dict[str, object],
    strategy: str | None,
) -> Spec:
    """The one step of a recipe whose memory is counted, with a strategy in place of its own.

    Raises:
        UsageError: none, or several.
    """
    label, spec = one_step(
        recipe,
        name,
        output,
        sets,
        lambda spec: spec.verb in COUNTED,
        nothing="neither trains, quantizes nor runs a model",
        fix="name a recipe of tfcli train, quantize, generate or eval",
        rather=lambda spec: spec.verb == "train" and name is None,  # what is asked for most
    )
    if strategy is None:
        return spec
    if spec.verb != "train":
        raise UsageError(
            f"{label} is no training, and strategies are of trainings",
            where="--strategy",
            fix="leave it out, or name a training by --step",
        )
    from tfcli.recipe.validate import build_spec

    given = spec.model_dump(exclude_unset=True)
    if strategy != spec.model_dump().get("strategy"):
        given = {key: value for key, value in given.items() if key not in ("fsdp", "deepspeed")}
    return build_spec(type(spec), {**given, "strategy": strategy})
