"""`tfcli data preview`: what a training would learn from, before it begins."""

from __future__ import annotations

from typing import Annotated

import typer

from tfcli.commands.help import OPTIONS, Command
from tfcli.commands.one_step import StepName, StepsFolder, one_step
from tfcli.commands.options import Debug, Json, Quiet, RecipeName, Sets, Verbose, json_fields
from tfcli.commands.output import finish, print_facts, print_table
from tfcli.console import Console
from tfcli.recipe.overrides import parse_set
from tfcli.recipe.record import check_inputs
from tfcli.train.preview_result import PreviewResult, PreviewSample
from tfcli.train.spec import TrainSpec

app = typer.Typer(add_completion=False)
_BAR = 30  # characters of the longest bar


@app.command(
    "preview",
    cls=Command,
    help="Show what a training would learn from: examples as the model reads them, with what is "
    "learned of them, the share of such tokens, and the lengths. No weights are read.",
    epilog="tfcli data preview sft --step sft\n"
    "tfcli data preview train.yaml --set rows.train_on=all\n" + json_fields(PreviewResult),
)
def preview(
    recipe: RecipeName,
    step: StepName = None,
    samples: Annotated[
        int,
        typer.Option("--samples", min=0, help="Examples that are shown.", rich_help_panel=OPTIONS),
    ] = 3,
    output: StepsFolder = None,
    set_: Sets = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    debug: Debug = False,
) -> None:
    from tfcli.families import load_family_file
    from tfcli.train.preview import preview

    spec = _training(recipe, step, output, set_)
    check_inputs(spec)
    if spec.family_file is not None:
        load_family_file(spec.family_file)
    console = Console(quiet, verbose, json)
    finish(preview(spec, samples, console), show, console)


def show(result: PreviewResult, console: Console) -> None:
    """The examples with what is learned in colour, then the figures and the lengths."""
    for number, sample in enumerate(result.samples, 1):
        _show_sample(number, sample, console)
    part = "in the first buffer" if result.streamed else "an epoch"
    facts = {
        "examples": f"{result.examples:,} {part}"
        + (
            f", {result.validation_examples:,} for validation"
            if result.validation_examples is not None
            else ""
        ),
        "tokens": f"{result.tokens:,} {part}",
        "learned": f"{result.learned:,} ({result.learned_share:.1%})",
    }
    if result.features:
        facts["media"] = f"{result.features:,} of the tokens stand for their features"
    print_facts(console, result.data, facts)
    most = max(each.examples for each in result.lengths)
    rows = [
        [f"{each.least:,} to {each.most:,}", f"{each.examples:,}", _bar(each.examples, most)]
        for each in result.lengths
    ]
    print_table(console, "Lengths", ["tokens", "examples", ""], rows)


def _show_sample(number: int, sample: PreviewSample, console: Console) -> None:
    """One example. Where there are no colours, what is learned stands in double brackets."""
    from rich.text import Text

    coloured = console.out.is_terminal and not console.out.no_color
    console.out.print(
        f"Example {number}: {sample.tokens:,} tokens, {sample.learned:,} learned"
        + (f", {sample.features:,} for {sample.media:,} media" if sample.media else ""),
        style="bold",
    )
    for row in sample.rows:
        text = Text()
        for part in row:
            if part.learned:
                text.append(part.text if coloured else f"[[{part.text}]]", style="green")
            else:
                text.append(part.text, style="dim")
        console.out.print(text, soft_wrap=True)
        console.out.print()


def _bar(count: int, most: int) -> str:
    return "█" * -(-count * _BAR // most)


def _training(
    recipe: str, name: str | None, output: str | None, sets: list[str] | None
) -> TrainSpec:
    """The training step of a recipe.

    Raises:
        UsageError: none, several, or a step of another command.
    """
    _, spec = one_step(
        recipe,
        name,
        output,
        parse_set(sets or []),
        lambda spec: isinstance(spec, TrainSpec),
        nothing="is no training",
        fix="give a recipe of tfcli train, or name such a step by --step",
    )
    assert isinstance(spec, TrainSpec), "only such a step fits"
    return spec
