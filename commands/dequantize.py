"""`tfcli dequantize`."""

from __future__ import annotations

from tfcli.commands.options import spec_command
from tfcli.commands.output import print_facts, print_table
from tfcli.console import Console
from tfcli.dequantize.spec import DequantizeResult, DequantizeSpec
from tfcli.units import format_bytes, plural


def show(result: DequantizeResult, console: Console) -> None:
    """What was unpacked, and the size before and after."""
    before, after = format_bytes(result.source_bytes), format_bytes(result.bytes)
    facts = {
        "tensors": f"{result.dequantized} dequantized, {result.converted} converted, "
        f"{result.copied} copied",
        "verified": f"{result.verified} read back and equal to the packed values, bit for bit",
        "size": f"{before} -> {after} in {plural(len(result.files), 'file')}",
    }
    if result.companions:
        facts["copied along"] = ", ".join(result.companions)
    print_facts(console, "Dequantized", facts)
    if console.verbosity:
        rows = [[t.name, t.action, t.dtype, ", ".join(map(str, t.bits))] for t in result.tensors]
        print_table(console, "Tensors", ["name", "action", "dtype", "bits"], rows, texts=3)


app = spec_command(
    DequantizeSpec,
    show,
    epilog="tfcli dequantize models/base-4bit models/base-again --dtype bfloat16",
)
