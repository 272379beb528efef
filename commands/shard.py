"""`tfcli shard`."""

from __future__ import annotations

from tfcli.commands.options import spec_command
from tfcli.commands.output import print_facts
from tfcli.console import Console
from tfcli.shard.spec import ShardResult, ShardSpec
from tfcli.units import format_bytes, plural


def show(result: ShardResult, console: Console) -> None:
    """The files before and after; with -v their names."""
    before, after = len(result.source_files), len(result.files)
    facts = {
        "files": f"{before} -> {after} ({result.container})",
        "size": format_bytes(result.bytes),
        "verified": f"{plural(result.verified, 'tensor')} read back and equal to the source, "
        "bit for bit",
    }
    if console.verbosity:
        facts["written"] = ", ".join(result.files)
    if result.companions:
        facts["copied along"] = ", ".join(result.companions)
    if result.left_out:
        facts["left out"] = ", ".join(result.left_out)
    facts |= {f"not written: {name}": what for name, what in result.beside.items()}
    print_facts(console, "Sharded", facts)


app = spec_command(
    ShardSpec, show, epilog="tfcli shard models/base models/base-2gb --shard-size 2GB"
)
