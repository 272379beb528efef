"""`tfcli score`: predictions beside references."""

from __future__ import annotations

from tfcli.commands.options import spec_command
from tfcli.commands.output import print_facts
from tfcli.console import Console
from tfcli.score.spec import ScoreResult, ScoreSpec
from tfcli.units import plural


def show(result: ScoreResult, console: Console) -> None:
    """The metrics."""
    facts = {each.name: f"{each.value:.4f}" for each in result.measures}
    facts["texts"] = plural(result.conditions.samples, "text")
    if result.empty:
        facts["texts"] += f", {result.empty:,} predictions are empty"
    print_facts(console, f"{result.predictions} beside {result.references}", facts)


app = spec_command(
    ScoreSpec,
    show,
    epilog="tfcli score generated.txt test.target --metrics bleu --metrics rougeL\n"
    "tfcli score generated.jsonl test.jsonl --metrics rougeLsum --no-sentence-lines",
)
