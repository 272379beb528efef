"""`tfcli compare`: is there a difference, and could there be?"""

from __future__ import annotations

from tfcli.commands.options import spec_command
from tfcli.commands.output import print_table
from tfcli.compare.spec import ComparedMeasure, CompareResult, CompareSpec
from tfcli.console import Console


def show(result: CompareResult, console: Console) -> None:
    """A line a measure, then what it means where nothing is shown."""
    rows = [
        [
            each.name,
            each.verdict,
            f"{each.a:.4g}",
            f"{each.b:.4g}",
            f"{each.difference:+.3g}",
            f"{each.interval[0]:+.3g} to {each.interval[1]:+.3g}",
            f"{each.p:.2g}",
            "none" if each.smallest_difference is None else f"{each.smallest_difference:.2g}",
            f"{each.samples:,}",
        ]
        for each in result.measures
    ]
    columns = ["measure", "B is", "A", "B", "B - A", "interval", "p", "could show", "samples"]
    print_table(console, f"{result.b} against {result.a}", columns, rows, texts=2)
    for each in result.measures:
        said = _why(each)
        if said:
            console.out.print(f"{each.name}: {said}")
    for condition in result.conditions:
        console.out.print(f"{condition.name}: {condition.a} in A, {condition.b} in B")
    if result.left_out:
        console.out.print(f"not compared, no means over samples: {', '.join(result.left_out)}")


def _why(each: ComparedMeasure) -> str:
    """What a verdict means where no difference is shown."""
    if each.verdict == "too few":
        return f"{each.units} independent samples are too few to show any difference"
    if each.verdict != "not shown" or each.smallest_difference is None:
        return ""
    said = (
        f"no difference is shown; {each.samples:,} samples show one of "
        f"{each.smallest_difference:.2g} in 4 of 5 cases"
    )
    if each.samples_needed is not None and each.samples_needed > each.samples:
        said += f", and one of {abs(each.difference):.2g} takes about {each.samples_needed:,}"
    return said


app = spec_command(
    CompareSpec,
    show,
    epilog="tfcli compare runs/base-eval runs/small-eval\n"
    "tfcli compare runs/base-eval runs/small-eval --measures accuracy --fail-on worse",
)
