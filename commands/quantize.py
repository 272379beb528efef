"""`tfcli quantize`: flags, and what the user sees."""

from __future__ import annotations

from collections import Counter

from tfcli.commands.options import spec_command
from tfcli.commands.output import print_facts
from tfcli.console import Console
from tfcli.quantize.spec import QuantizeResult, QuantizeSpec
from tfcli.units import format_bytes, plural


def show(result: QuantizeResult, console: Console) -> None:
    """Print what was quantized, what was kept and why, and what it costs."""
    group = "whole rows" if result.group_size == -1 else f"groups of {result.group_size}"
    zero = {None: "", True: ", symmetric", False: ", asymmetric"}[result.symmetric]
    kept = Counter(t.reason or "" for t in result.tensors if t.outcome != "quantized")
    reasons = ", ".join(f"{count} {why}" for why, count in kept.items())
    facts = {
        "quantized": f"{plural(result.quantized, 'tensor')} to {result.bits} bits, {group}{zero}",
        "kept": f"{plural(result.kept, 'tensor')} ({reasons})",
        "bits per weight": f"{result.bits_per_weight:.2f} with scales, zeros and group indices",
        "size": f"{format_bytes(result.bytes_before)} -> {format_bytes(result.bytes_after)}",
        "mean weight error": f"{result.mean_weight_error:.3g}",
    }
    if result.dropped:
        facts["dropped"] = f"{plural(result.dropped, 'tensor')} that no reader needs"
    if result.mean_output_error is not None:
        facts["mean output error"] = f"{result.mean_output_error:.3g}"
    if result.calibration is not None:
        data = result.calibration
        before = f", a prefix of {data.prefix_per_window} before each"
        facts["calibration"] = (
            f"{data.tokens:,} tokens in {plural(data.windows, 'window')} of "
            f"{data.sequence_length}{before if data.prefix_per_window else ''}, "
            f"from {plural(data.documents, 'document')}"
        )
    print_facts(console, f"{result.method}: {result.output}", facts)


app = spec_command(
    QuantizeSpec,
    show,
    epilog="tfcli quantize models/base models/base-4bit --method gptq --data calibration.txt",
)
