"""`tfcli report`: finished steps as one page."""

from __future__ import annotations

from tfcli.commands.options import spec_command
from tfcli.commands.output import print_facts
from tfcli.console import Console
from tfcli.report.spec import ReportResult, ReportSpec


def show(result: ReportResult, console: Console) -> None:
    """What the report covers; the page to open comes last, on a line of its own."""
    covers = f"{result.steps} steps, {result.models} models"
    print_facts(console, "Report", {"covers": covers, "markdown": result.markdown})
    console.out.print(result.html, soft_wrap=True)


app = spec_command(
    ReportSpec,
    show,
    epilog="tfcli report runs/quickstart/*-eval --output report",
)
