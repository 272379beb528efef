"""`tfcli merge`."""

from __future__ import annotations

from tfcli.commands.options import spec_command
from tfcli.commands.output import print_facts, print_table
from tfcli.console import Console
from tfcli.merge.spec import MergeResult, MergeSpec
from tfcli.units import format_bytes


def show(result: MergeResult, console: Console) -> None:
    """What the adapter did, and what rounding cost."""
    facts = {
        "method": result.method,
        "adapter": f"{result.adapter_tensors} tensors, all used",
        "tensors": f"{result.merged} merged, {result.replaced} replaced, {result.copied} copied",
        "rounding": f"at most {result.max_deviation:.3g} of a tensor's largest value",
        "verified": f"{result.verified} read back and equal to a second pass, bit for bit",
        "size": f"{format_bytes(result.bytes)} in {len(result.files)} files",
    }
    if result.untied:
        facts["untied"] = ", ".join(result.untied)
    if result.companions:
        facts["copied along"] = ", ".join(result.companions)
    print_facts(console, "Merged", facts)
    if console.verbosity:
        rows = [
            [t.name, t.action, t.dtype, _number(t.change), _number(t.deviation)]
            for t in result.tensors
        ]
        columns = ["name", "action", "dtype", "change", "rounding"]
        print_table(console, "Tensors", columns, rows, texts=3)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


app = spec_command(MergeSpec, show, epilog="tfcli merge models/base runs/lora/adapter merged")
