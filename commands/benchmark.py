"""`tfcli benchmark`: time and memory over batches, lengths and caches."""

from __future__ import annotations

from tfcli.benchmark.markdown import COMPARED, compared_cells
from tfcli.benchmark.spec import BenchmarkResult, BenchmarkSpec
from tfcli.benchmark.text import CELLS, cells, machine_text, names_of
from tfcli.commands.options import spec_command
from tfcli.commands.output import print_table
from tfcli.console import Console


def show(result: BenchmarkResult, console: Console) -> None:
    """A line a row, what regressed, and what the figures depend on."""
    lines = [cells(result, row) for row in result.rows]
    # Columns that nothing stands in are left out, and without -v the furthest measurements.
    hidden = () if console.verbosity else ("p90", "p99")
    kept = [
        place
        for place, name in enumerate(CELLS)
        if name not in hidden and any(line[place] for line in lines)
    ]
    print_table(
        console,
        "Each case in a process of its own",
        [CELLS[place] for place in kept],
        [[line[place] for place in kept] for line in lines],
        texts=sum(place < 3 for place in kept),
    )
    names = zip(names_of(result), result.rows, strict=True)
    unpacked = list(dict.fromkeys(name for name, row in names if row.unpacked))
    if unpacked:
        console.out.print(f"unpacked at load, as no kernel runs them packed: {', '.join(unpacked)}")
    for line in [*machine_text(result), *result.notes]:
        console.out.print(line)
    if result.baseline is None:
        return
    shown = [each for each in result.compared if each.regressed or console.verbosity]
    if shown:
        rows = [compared_cells(result, each) for each in shown]
        print_table(console, f"Beside {result.baseline}", COMPARED, rows)
    finding = result.finding()
    if finding is None:
        console.out.print(f"no row is slower than in {result.baseline}", style="green")
    else:
        console.out.print(finding, style="red")


app = spec_command(
    BenchmarkSpec,
    show,
    epilog="tfcli benchmark DENSE QUANTIZED --length 256 --batch-size 1 --batch-size 8\n"
    "tfcli benchmark MODEL --vs transformers --vs llama.cpp\n"
    "tfcli benchmark MODEL --rounds 7 --baseline old.json --fail-on 5%",
)
