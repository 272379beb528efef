"""`tfcli quantize`: flags, and what the user sees."""

from __future__ import annotations

from collections import Counter

from tfcli.commands.options import spec_command
from tfcli.commands.output import print_facts, print_table
from tfcli.console import Console
from tfcli.quantize.budget.spec import Budget
from tfcli.quantize.result_spec import QuantizeResult, TensorOutcome
from tfcli.quantize.spec import QuantizeSpec
from tfcli.recipe.results import RunResult
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
    }
    if result.mean_weight_error is not None:
        facts["mean weight error"] = f"{result.mean_weight_error:.3g}"
    if result.peak_bytes is not None:
        facts["disk needed"] = format_bytes(result.bytes_after)
        facts["peak memory"] = f"at most {format_bytes(result.peak_bytes)} beside the mapped source"
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
    if result.budget is not None:
        facts |= _budget(result.budget)
    if result.dry_run:
        print_facts(console, f"Plan of {result.method} (nothing is written)", facts)
    else:
        print_facts(console, f"{result.method}: {result.output}", facts)
    if console.verbosity or result.dry_run:
        columns = ["tensor", "outcome", "size"]
        print_table(console, "Tensors", columns, [_row(each) for each in result.tensors], texts=2)


def _budget(budget: Budget) -> dict[str, str]:
    widths = Counter(group.width for group in budget.groups)
    given = ", ".join(f"{count} of {width}" for width, count in widths.most_common())
    return {
        "budget": f"{format_bytes(budget.used)} of {format_bytes(budget.bytes)}: {given}",
        "KL divergence": f"{budget.kl_divergence:.3g} nats, forecast {budget.forecast:.3g}, "
        f"on {budget.tokens:,} tokens held out",
    }


def _row(tensor: TensorOutcome) -> list[str]:
    what: str = tensor.outcome
    if tensor.bits is not None:
        group = "whole rows" if tensor.group_size == -1 else f"groups of {tensor.group_size}"
        what = f"{tensor.bits} bits, {group}"
    if tensor.reason:
        what = f"{what}: {tensor.reason}"
    return [tensor.name, what, format_bytes(tensor.bytes)]


def show_comparison(run: RunResult, console: Console) -> None:
    """Print what each way made and what was measured of it, a line each."""
    steps = {step.step: step.result for step in run.steps}
    rows = []
    for name, measured in steps.items():
        made = steps.get(name.removesuffix("-eval"))
        if made is None or "kl_divergence" not in measured:
            continue
        rows.append(
            [
                name.removesuffix("-eval"),
                str(made["layout"]),
                f"{made['bits_per_weight']:.2f}",
                format_bytes(made["bytes_after"]),
                f"{measured['kl_divergence']:.3g}",
                f"{measured['kl_divergence_p99']:.3g}",
                f"{measured['same_top_token']:.2%}",
            ]
        )
    columns = ["way", "layout", "bits a weight", "size", "KL mean", "KL 99%", "same top"]
    print_table(console, "Compared", columns, rows, texts=2)


app = spec_command(
    QuantizeSpec,
    show,
    several=show_comparison,
    epilog="tfcli quantize models/base models/base-4bit --method gptq --data calibration.txt\n"
    "tfcli quantize --compare models/base compared --ways gptq --ways gptq:3.5",
)
