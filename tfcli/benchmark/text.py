"""Figures of a benchmark as short texts, for tables of every kind."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePath
from statistics import median

from tfcli.benchmark.result import BenchmarkResult, BenchmarkRow
from tfcli.units import format_bytes, plural

CELLS = (
    "model",
    "case",
    "sizes",
    "time",
    "spread",
    "p90",
    "p99",
    "tok/s",
    "limit",
    "peak memory",
    "J/token",
)
"""The columns of `cells`. `spread` is how far half the way from the lowest round to the highest is,
`limit` the share of the machine's own rate of reading memory (decode) or of products."""


def cells(result: BenchmarkResult, row: BenchmarkRow) -> list[str]:
    """A row as texts, by CELLS."""
    rate, share, joules = row.tokens_per_second, row.share, row.joules_per_token
    memory = format_bytes(row.peak_memory_bytes)
    if row.device_memory_bytes is not None:
        memory += f" + {format_bytes(row.device_memory_bytes)} device"
    spread = (row.seconds_high - row.seconds_low) / 2 / row.seconds
    return [
        names_of(result)[result.rows.index(row)],
        row.case,
        sizes_text(row),
        time_text(row.seconds),
        f"±{spread:.1%}" if len(row.rounds) > 1 else "",
        time_text(row.seconds_p90),
        time_text(row.seconds_p99),
        "" if rate is None else f"{rate:,.0f}" if rate >= 1000 else f"{rate:.3g}",
        "" if share is None else f"{share:.0%}",
        memory,
        "" if joules is None else f"{joules:.3g}",
    ]


def names_of(result: BenchmarkResult) -> list[str]:
    """A short name of each row's model: its last part where that tells models apart; and its side
    where there are several."""
    models = {row.model for row in result.rows}
    last = Counter(PurePath(model).name for model in models)
    several = len({row.side for row in result.rows}) > 1
    found = []
    for row in result.rows:
        short = PurePath(row.model).name
        name = short if last[short] == 1 else row.model
        found.append(f"{name}, {row.side}" if several else name)
    return found


def sizes_text(row: BenchmarkRow) -> str:
    """`4 x 512`, with new tokens and a cache that is not the usual one."""
    if row.batch_size is None or row.length is None:
        return ""
    said = f"{row.batch_size} x {row.length:,}"
    said += f" + {row.new_tokens}" if row.new_tokens else ""
    return said + (f", {row.cache}" if row.cache not in (None, "dynamic") else "")


def time_text(seconds: float) -> str:
    """A time in three digits: `1.25 s`, `12.5 ms`, `310 us`."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def machine_text(result: BenchmarkResult) -> list[str]:
    """What the figures depend on, a line each."""
    facts = result.machine
    said = [str(facts.get("processor") or "unknown processor"), f"{facts.get('cores')} cores"]
    said += [format_bytes(int(facts["memory_bytes"]))] if "memory_bytes" in facts else []
    said += [str(facts["accelerator"])] if "accelerator" in facts else []
    read = median(result.limits.bytes_per_second)
    products = ", ".join(
        f"{median(rates) / 1e9:,.0f} GFLOP/s in {name}"
        for name, rates in result.limits.multiplied.items()
    )
    versions = ", ".join(f"{name} {number}" for name, number in result.versions.items())
    return [
        ", ".join([*said, str(facts.get("system"))]),
        f"{result.device}, {plural(result.threads, 'thread')}; medians of "
        f"{plural(result.rounds, 'round')} of {result.repeats}, each in a process of its own",
        f"the machine reads {format_bytes(round(read))}/s ({result.limits.loop}) and multiplies "
        f"{products}",
        f"energy: {result.energy}",
        versions,
    ]
