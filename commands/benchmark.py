"""`tfcli benchmark`: time loading, prefill and decoding."""

from __future__ import annotations

from pathlib import Path

from tfcli.benchmark.spec import BenchmarkResult, BenchmarkSpec
from tfcli.commands.options import spec_command
from tfcli.commands.output import print_table
from tfcli.console import Console
from tfcli.units import format_bytes, plural

COLUMNS = (
    "model",
    "weights",
    "load",
    "first token",
    "prefill tok/s",
    "decode tok/s",
    "peak memory",
)


def show(result: BenchmarkResult, console: Console) -> None:
    """A row a model."""
    names = [Path(row.model).name for row in result.rows]
    whole = len(set(names)) < len(names)
    rows = []
    for name, row in zip(names, result.rows, strict=True):
        on_device = row.device_memory_bytes
        memory = format_bytes(row.peak_memory_bytes)
        rows.append(
            [
                row.model if whole else name,
                format_bytes(row.weight_bytes),
                f"{row.load_seconds:.2f} s",
                f"{row.first_token_seconds:.2f} s",
                f"{row.prefill_tokens_per_second:,.0f}",
                f"{row.decode_tokens_per_second:,.1f}",
                memory if on_device is None else f"{memory} + {format_bytes(on_device)} device",
            ]
        )
    print_table(console, "Speed and memory, each model in a process of its own", COLUMNS, rows)
    unpacked = [name for name, row in zip(names, result.rows, strict=True) if row.unpacked]
    if unpacked:
        console.out.print(f"unpacked at load, as no kernel runs them packed: {', '.join(unpacked)}")
    console.out.print(
        f"prompt of {plural(result.prompt_tokens, 'token')}, {result.new_tokens} new, median of "
        f"{result.repeats}, {result.device}, {plural(result.threads, 'thread')}"
    )


app = spec_command(
    BenchmarkSpec, show, epilog="tfcli benchmark DENSE QUANTIZED --prompt-tokens 256"
)
