"""`tfcli data`: text into splits."""

from __future__ import annotations

from tfcli.commands.options import spec_command
from tfcli.commands.output import print_table
from tfcli.console import Console
from tfcli.data.spec import DataResult, DataSpec
from tfcli.units import plural


def show(result: DataResult, console: Console) -> None:
    """The size of each split, and what was dropped."""
    rows = [
        [name, f"{size.documents:,}", f"{size.characters:,}", f"{size.bytes:,}"]
        for name, size in result.splits.items()
    ]
    print_table(
        console, f"Text from {result.source}", ["split", "documents", "characters", "bytes"], rows
    )
    if result.rows is not None:
        counts = ", ".join(f"{count:,} in {name}" for name, count in result.rows.items())
        console.out.print(f"rows of the exercise: {counts}")
    console.out.print(
        f"{plural(result.paragraphs, 'paragraph')} kept once, "
        f"{plural(result.paragraphs_dropped, 'repeat')} and "
        f"{plural(result.documents_dropped, 'document')} dropped"
    )


app = spec_command(DataSpec, show, epilog="tfcli data python-docs texts --test 0.1")
