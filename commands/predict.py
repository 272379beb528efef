"""`tfcli predict`: something for each row of a file."""

from __future__ import annotations

from tfcli.commands.options import spec_command
from tfcli.commands.output import print_facts
from tfcli.console import Console
from tfcli.predict.spec import STANDARD, PredictResult, PredictSpec
from tfcli.units import plural


def show(result: PredictResult, console: Console) -> None:
    """What was predicted, and what was not."""
    facts = {
        "rows": f"{result.rows:,}",
        "without a prediction": f"{result.failed:,}",
        "speed": f"{result.rows_per_second:,.1f} rows/s, {result.dtype} on {result.device}",
    }
    if result.resumed:
        facts["of an interrupted run"] = f"{result.resumed:,}"
    print_facts(console, f"{result.task}: {result.output}", facts)


def show_rest(result: PredictResult, console: Console) -> None:
    """What is left to say when the lines are on standard output; else everything."""
    if result.output != STANDARD:
        show(result, console)
        return
    failed = f", {result.failed:,} without a prediction" if result.failed else ""
    console.note(f"{plural(result.rows, 'row')}{failed}, {result.rows_per_second:,.1f} rows/s")


app = spec_command(
    PredictSpec,
    show,
    streamed=show_rest,
    epilog="tfcli predict --task sentiment-analysis --input reviews.csv -o labels.jsonl\n\n"
    "tfcli predict --task fill-mask MODEL --input - -o - --set options.top_k=3",
)
