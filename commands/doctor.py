"""`tfcli doctor`: what this machine has, what works, and how to fix what does not."""

from __future__ import annotations

from typing import Annotated

import typer

from tfcli.commands.help import Command
from tfcli.commands.options import Debug, Json, Quiet, Verbose, json_fields
from tfcli.commands.output import finish, print_facts
from tfcli.console import Console
from tfcli.doctor.result import DoctorResult
from tfcli.units import format_bytes

app = typer.Typer(add_completion=False)
Thorough = Annotated[
    bool, typer.Option("--thorough", help="Try the parts that compile, too: about a minute.")
]
_COLOURS = {"ok": "green", "missing": "yellow", "broken": "red"}


@app.command(
    "doctor",
    cls=Command,
    help="Say what this machine has and how it will compute, try every part, and name the command "
    "that fixes each gap. Parts that compile take a minute, and wait for --thorough. "
    "The exit code is 0 when every required part works and 1 otherwise.",
    epilog="tfcli doctor\n" + json_fields(DoctorResult),
)
def doctor(
    thorough: Thorough = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    debug: Debug = False,
) -> None:
    from tfcli.doctor.examine import examine

    console = Console(quiet, verbose, json)
    result = examine(console, thorough=thorough)
    finish(result, show, console)
    if not result.ok:
        raise typer.Exit(1)


def show(result: DoctorResult, console: Console) -> None:
    """The machine, the versions, the parts, and what to do about each gap."""
    print_facts(console, "Machine", _machine(result))
    print_facts(console, "Arithmetic", result.arithmetic)
    print_facts(console, "Quantized weights", _layouts(result))
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    console.out.print("\nversions", style="cyan", end="  ")
    console.out.print(f"{versions}\n")
    _show_parts(result, console)
    for part in result.parts:
        if part.fix:
            console.out.print(f"  {part.name}:", style="bold", end=" ")
            console.out.print(part.fix, soft_wrap=True)
    if result.not_tried:
        console.out.print(
            f"not tried: {', '.join(result.not_tried)} (tfcli doctor --thorough)", style="dim"
        )
    broken = [part.name for part in result.parts if part.required and part.state != "ok"]
    if broken:
        console.out.print(f"required parts do not work: {', '.join(broken)}", style="red")
    else:
        console.out.print("every required part works", style="green")


def _machine(result: DoctorResult) -> dict[str, str]:
    facts = {"system": result.system}
    for device in result.devices:
        facts[device["type"]] = _device(device)
    memory = format_bytes(result.memory_bytes)
    facts["memory"] = f"{memory}, {format_bytes(result.memory_free_bytes)} free"
    if result.disk:
        facts["hub cache"] = f"{result.disk.path}, {format_bytes(result.disk.free_bytes)} free"
    return facts


def _layouts(result: DoctorResult) -> dict[str, str]:
    """The methods of quantization that are read, by how their weights are kept."""
    said = {"packed": "run packed", "unpacked": "run dequantized"}
    by_way = {
        text: ", ".join(name for name, way in result.layouts.items() if way == key)
        for key, text in said.items()
    }
    return {text: names for text, names in by_way.items() if names}


def _device(device: dict[str, object]) -> str:
    said = [str(device["name"])]
    if device["type"] == "cpu":
        said.append(f"{device['cores']} cores, {device['threads']} threads")
        features = device["features"]
        said.append(" ".join(features) if isinstance(features, list) else "")
    if "memory_bytes" in device:
        said.append(format_bytes(int(str(device["memory_bytes"]))))
    if "compute_capability" in device:
        said.append(f"compute capability {device['compute_capability']}")
    if "bf16" in device:
        said.append("bf16 in hardware" if device["bf16"] else "no bf16 in hardware")
    return "; ".join(part for part in said if part)


def _show_parts(result: DoctorResult, console: Console) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Parts", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("part", "state", "detail"):
        table.add_column(column, overflow="fold")
    for part in result.parts:
        state = Text(part.state, style=_COLOURS[part.state])
        detail = Text(part.detail)
        if part.state != "ok":
            optional = "" if part.required else " (optional)"
            detail.append(f"\nneeded for {part.needed_for}{optional}", style="dim")
        table.add_row(part.name, state, detail)
    console.out.print(table)
