"""`tfcli diff`."""

from __future__ import annotations

import json
from typing import Any

from tfcli.commands.options import spec_command
from tfcli.commands.output import print_facts, print_table
from tfcli.console import Console
from tfcli.diff.spec import DiffResult, DiffSpec, TensorDifference
from tfcli.units import plural

SHOWN = 10
"""Rows of a table without -v."""


def show(result: DiffResult, console: Console) -> None:
    """The counts, then what differs, the furthest first; with -v everything."""
    total = len(result.tensors)
    facts = {"A, B": f"{result.kind_a}, {result.kind_b}"} if _unlike(result) else {}
    facts["tensors"] = f"{result.equal} of {total} equal, bit for bit"
    counts = {
        "different": result.different,
        "other shapes": result.shapes,
        "only in A": result.only_a,
        "only in B": result.only_b,
    }
    facts |= {name: str(count) for name, count in counts.items() if count}
    if result.different and result.relative_difference is not None:
        facts["largest"] = (
            f"{result.max_difference:.3g} absolute, {result.relative_difference:.3g} relative"
        )
    if result.ties:
        facts["ties"] = "; ".join(f"{t.name}: {_tie(t.a)} -> {_tie(t.b)}" for t in result.ties)
    if result.config_compared:
        count = len(result.config)
        facts["config.json"] = "equal" if not count else f"other values of {plural(count, 'key')}"
    print_facts(console, "Identical" if result.identical else "Different", facts)
    _tensors(result, console)
    _config(result, console)


def _unlike(result: DiffResult) -> bool:
    return not {result.kind_a, result.kind_b} <= {"hf", "safetensors", "torch"}


def _tensors(result: DiffResult, console: Console) -> None:
    rows = [t for t in result.tensors if console.verbosity or t.status != "equal"]
    rows.sort(key=_distance, reverse=True)
    shown = rows if console.verbosity else rows[:SHOWN]
    if shown:
        title = (
            "Tensors" if len(shown) == len(rows) else f"Tensors, {SHOWN} of {len(rows)} (-v: all)"
        )
        cells = [
            [
                t.name,
                _what(t),
                _number(t.changed),
                _number(t.max_difference),
                _number(t.relative_difference),
            ]
            for t in shown
        ]
        columns = ["name", "A -> B", "values changed", "largest", "relative"]
        print_table(console, title, columns, cells, texts=2)


def _config(result: DiffResult, console: Console) -> None:
    shown = result.config if console.verbosity else result.config[:SHOWN]
    if shown:
        title = "config.json"
        if len(shown) < len(result.config):
            title += f", {SHOWN} of {len(result.config)} keys (-v: all)"
        rows = [
            [item.key, _json(item.a, item.only == "b"), _json(item.b, item.only == "a")]
            for item in shown
        ]
        print_table(console, title, ["key", "A", "B"], rows, texts=3)


def _distance(tensor: TensorDifference) -> float:
    # What has no distance is further off than any number.
    if tensor.relative_difference is None or tensor.not_finite:
        return float("inf")
    return tensor.relative_difference


def _what(tensor: TensorDifference) -> str:
    if tensor.status in ("only_a", "only_b"):
        return "missing in B" if tensor.status == "only_a" else "missing in A"
    if tensor.status == "shape":
        return f"{_shape(tensor.shape_a)} -> {_shape(tensor.shape_b)}"
    same = tensor.dtype_a == tensor.dtype_b
    text = f"{tensor.dtype_a}" if same else f"{tensor.dtype_a} -> {tensor.dtype_b}"
    tied = tensor.stored_a or tensor.stored_b
    text += f", tied to {tied} in {'A' if tensor.stored_a else 'B'}" if tied else ""
    hows = {f"{how} in {side}" for side, how in (("A", tensor.how_a), ("B", tensor.how_b)) if how}
    text += "".join(f", {how}" for how in sorted(hows))
    return text + (f", {tensor.not_finite} not finite" if tensor.not_finite else "")


def _shape(shape: list[int] | None) -> str:
    return " x ".join(map(str, shape or [])) or "scalar"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def _tie(origin: str | None) -> str:
    return origin or "not tied"


def _json(value: Any, missing: bool) -> str:
    return "" if missing else json.dumps(value, ensure_ascii=False)


app = spec_command(
    DiffSpec, show, epilog="tfcli diff models/base models/base-bf16 --fail-above 0.004"
)
