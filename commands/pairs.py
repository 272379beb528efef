"""`tfcli pairs`: pairs of texts, read, packed and written."""

from __future__ import annotations

from tfcli.commands.options import spec_command
from tfcli.commands.output import print_table
from tfcli.console import Console
from tfcli.pairs.spec import PairsResult, PairsSpec


def show(result: PairsResult, console: Console) -> None:
    """The size of each split."""
    counted = any(split.source_tokens is not None for split in result.splits.values())
    rows = [
        [name, f"{split.read:,}", f"{split.written:,}"]
        + ([f"{split.source_tokens:,}", f"{split.target_tokens:,}"] if counted else [])
        for name, split in result.splits.items()
    ]
    columns = ["split", "read", "written"] + (["source tokens", "target tokens"] if counted else [])
    print_table(console, f"Pairs from {result.source}", columns, rows)
    console.out.print(", ".join(result.files), soft_wrap=True)


app = spec_command(
    PairsSpec,
    show,
    epilog="tfcli pairs wmt_en_ro packed --pack-tokens 128 --tokenizer MODEL --format lines\n"
    "tfcli pairs org/name:ro-en eval --source-column translation.en "
    "--target-column translation.ro --splits test --first 8 --format json",
)
