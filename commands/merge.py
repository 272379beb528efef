"""`tfcli merge`."""

from __future__ import annotations

from tfcli.commands.options import spec_command
from tfcli.commands.output import print_facts, print_table
from tfcli.console import Console
from tfcli.merge.spec import MergeResult, MergeSpec
from tfcli.units import format_bytes, plural


def show(result: MergeResult, console: Console) -> None:
    """What the adapter did, and what rounding cost."""
    facts = {
        "method": f"{result.method}, as {result.wrote} writes it",
        "adapter": f"{plural(result.adapter_tensors, 'tensor')}, all used",
        "tensors": f"{result.merged} merged, {result.replaced} replaced, {result.copied} copied",
        "rounding": f"at most {result.max_deviation:.3g} of a tensor's largest value",
        "verified": f"{result.verified} read back and equal to a second pass, bit for bit",
        "size": f"{format_bytes(result.bytes)} in {plural(len(result.files), 'file')}",
    }
    if result.max_divergence is not None:
        facts["from the quantized base"] = (
            f"weights at most {result.max_divergence:.3g} of a tensor's largest value apart from "
            "the adapter on it"
        )
    if result.logits is not None:
        facts["logits"] = (
            f"{result.logits.relative_difference:.2g} of their standard deviation apart from the "
            f"adapter on its base, at most {result.logits.largest_difference:.2g}"
        )
    if result.untied:
        facts["untied"] = ", ".join(result.untied)
    if result.vocabulary is not None:
        facts["vocabulary"] = f"{result.vocabulary:,} tokens, as the adapter's"
    if result.task is not None:
        facts["task"] = f"{result.task}, as the adapter's head"
    if result.companions:
        facts["copied along"] = ", ".join(result.companions)
    print_facts(console, "Merged", facts)
    if console.verbosity:
        rows = [
            [t.name, t.action, t.dtype, *map(_number, (t.change, t.deviation, t.divergence))]
            for t in result.tensors
        ]
        columns = ["name", "action", "dtype", "change", "rounding", "from quantized"]
        print_table(console, "Tensors", columns, rows, texts=3)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


app = spec_command(MergeSpec, show, epilog="tfcli merge models/base runs/lora/adapter merged")
