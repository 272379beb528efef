"""`tfcli eval`: figures for a model on a data file, or on tasks."""

from __future__ import annotations

from tfcli.commands.options import spec_command
from tfcli.commands.output import print_facts, print_table
from tfcli.console import Console
from tfcli.evaluate.measure import Measure
from tfcli.evaluate.spec import EvalResult, EvalSpec, TaskResult


def show(result: EvalResult, console: Console) -> None:
    """The figures, with what they were measured on."""
    if result.tasks:
        _show_tasks(result, console)
    else:
        _show_text(result, console)


def _show_tasks(result: EvalResult, console: Console) -> None:
    rows = [_row(task, measure) for task in result.tasks for measure in task.measures]
    columns = ("task", "measure", "better", "value", "95% interval", "samples", "shots")
    print_table(console, f"{result.model}, {result.dtype}", columns, rows, texts=3)


def _row(task: TaskResult, measure: Measure) -> tuple[str, ...]:
    better = {True: "higher", False: "lower", None: ""}
    low_high = "" if measure.interval is None else "{:.4g} to {:.4g}".format(*measure.interval)
    return (
        task.task,
        measure.name,
        better[measure.higher_is_better],
        f"{measure.value:.4g}",
        low_high,
        f"{measure.n:,}",
        str(task.conditions.shots),
    )


def _show_text(result: EvalResult, console: Console) -> None:
    skipped = ""
    if result.unscored_tokens:
        skipped = f"; {result.unscored_tokens:,} have nothing before them and are not scored"
    facts = {
        "perplexity": f"{result.perplexity:.4g}",
        "bits per byte": f"{result.bits_per_byte:.4f}",
    }
    for name, bits in (result.compression or {}).items():
        facts[f"  {name.replace('_', ' ')}"] = f"{bits:.4f}"
    if result.kl_divergence is not None:
        facts["KL divergence"] = (
            f"{result.kl_divergence:.3e} nats a token from {result.reference} "
            f"(median {result.kl_divergence_median:.3e}, 99% {result.kl_divergence_p99:.3e}, "
            f"99.9% {result.kl_divergence_p999:.3e})"
        )
        facts["same top token"] = f"{result.same_top_token:.2%}"
        facts["its perplexity"] = f"{result.reference_perplexity:.4g}"
    facts["scored"] = (
        f"{result.tokens:,} tokens, {result.bytes:,} bytes, {result.documents:,} documents{skipped}"
    )
    before = {"each": "each window", "first": "each document", "none": "nothing"}[result.bos]
    begins = f", a prefix of {result.bos_tokens} before {before}" if result.bos_tokens else ""
    facts["windows"] = f"{result.window} tokens, stride {result.stride}, {result.dtype}{begins}"
    facts["speed"] = f"{result.tokens_per_second:,.0f} tokens/s"
    print_facts(console, f"{result.model} on {result.data}", facts)


app = spec_command(
    EvalSpec,
    show,
    epilog="tfcli eval MODEL --task perplexity --data text.txt --sequence-length 512 --json\n"
    "tfcli eval MODEL --task shipped\ntfcli eval MODEL --task task.yaml --shots 5 --output OUT",
)
