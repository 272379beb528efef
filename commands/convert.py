"""`tfcli convert`."""

from __future__ import annotations

from tfcli.commands.options import spec_command
from tfcli.commands.output import print_facts, print_table
from tfcli.console import Console
from tfcli.convert.spec import ConvertResult, ConvertSpec
from tfcli.units import format_bytes


def show(result: ConvertResult, console: Console) -> None:
    """What became of the tensors, and the size before and after."""
    before, after = format_bytes(result.source_bytes), format_bytes(result.bytes)
    facts = {
        "tensors": f"{result.converted} converted, {result.copied} copied, {result.tied} tied",
        "verified": f"{result.verified} read back and equal to the source, bit for bit",
        "size": f"{before} -> {after}",
        "files": ", ".join(result.files[:3]) + (" ..." if len(result.files) > 3 else ""),
    }
    if result.companions:
        facts["copied along"] = ", ".join(result.companions)
    if result.left_out:
        facts["left out"] = ", ".join(result.left_out)
    print_facts(console, "Converted", facts)
    if console.verbosity:
        rows = [[t.name, t.source_dtype, t.dtype, t.action] for t in result.tensors]
        print_table(console, "Tensors", ["name", "from", "to", "action"], rows)


app = spec_command(
    ConvertSpec,
    show,
    epilog="tfcli convert meta-llama/Llama-3.2-1B llama-fp16 --dtype fp16 --max-shard-size 2GB",
)
