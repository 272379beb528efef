"""`tfcli average`."""

from __future__ import annotations

from tfcli.average.spec import AverageResult, AverageSpec
from tfcli.commands.options import spec_command
from tfcli.commands.output import print_facts, print_table
from tfcli.console import Console
from tfcli.units import format_bytes, plural


def show(result: AverageResult, console: Console) -> None:
    """What was averaged and what each source counted."""
    facts = {
        "method": f"{result.method}, {' + '.join(f'{share:.3g}' for share in result.shares)}",
        "tensors": f"{result.averaged} averaged, {result.copied} copied",
        "verified": f"{result.verified} read back and equal to a second pass, bit for bit",
        "size": f"{format_bytes(result.bytes)} in {plural(len(result.files), 'file')}",
    }
    angles = [tensor.angle for tensor in result.tensors if tensor.angle is not None]
    if angles:
        facts["angles"] = f"{min(angles):.3g} to {max(angles):.3g} degrees between the sources"
    if result.tied:
        facts["tied"] = ", ".join(result.tied)
    if result.companions:
        facts["copied along"] = ", ".join(result.companions)
    print_facts(console, "Averaged", facts)
    if console.verbosity:
        rows = [
            [t.name, t.dtype, t.action, "" if t.angle is None else f"{t.angle:.3g}"]
            for t in result.tensors
        ]
        print_table(console, "Tensors", ["name", "dtype", "action", "degrees"], rows, texts=3)


app = spec_command(
    AverageSpec, show, epilog="tfcli average run-1 run-2 run-3 soup --weights 0.5,0.25,0.25"
)
