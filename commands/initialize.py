"""`tfcli initialize`: a checkpoint with new weights."""

from __future__ import annotations

from tfcli.commands.options import spec_command
from tfcli.commands.output import print_facts
from tfcli.console import Console
from tfcli.initialize.spec import InitializeResult, InitializeSpec
from tfcli.units import format_count, plural


def show(result: InitializeResult, console: Console) -> None:
    """What was made."""
    facts = {
        "weights": f"{format_count(result.parameters)} random ones, {result.dtype}",
        "files": plural(len(result.files), "file"),
    }
    if result.companions:
        facts["copied along"] = ", ".join(result.companions)
    print_facts(console, f"{result.model_type}, {result.task}", facts)


app = spec_command(
    InitializeSpec,
    show,
    epilog="tfcli initialize models/base models/tiny --set changes.num_hidden_layers=2 --seed 1",
)
