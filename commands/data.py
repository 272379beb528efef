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
    for name, count in (result.rows or {}).items():
        console.out.print(f"{name}: {plural(count, 'row')} made of it")
    console.out.print(
        f"{plural(result.paragraphs, 'paragraph')} kept once, "
        f"{plural(result.paragraphs_dropped, 'repeat')} and "
        f"{plural(result.documents_dropped, 'document')} dropped"
    )


app = spec_command(
    DataSpec,
    show,
    epilog="tfcli data python-docs texts --test 0.1\ntfcli data preview sft --step sft",
)
