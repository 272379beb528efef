"""What `tfcli report` takes and gives."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from tfcli.recipe.spec import OutputPath, Result, RunPath, Spec


class ReportSpec(Spec):
    """Put finished steps into one report: report.md and a self-contained report.html."""

    verb: ClassVar[str] = "report"
    positional: ClassVar[tuple[str, ...]] = ("runs",)

    runs: list[RunPath] = Field(
        min_length=1,
        description="The folders of finished steps: what other commands wrote to --output.",
    )
    output: OutputPath = Field(description="The folder for report.md and report.html.")
    title: str = Field("tfcli report", min_length=1, description="The report's heading.")


class ReportResult(Result):
    """Where the report is, and what it holds."""

    schema_name: ClassVar[str] = "tfcli.report/1"

    html: str = Field(description="The page: one file, no network needed.")
    markdown: str = Field(description="The report as Markdown, without the plots.")
    steps: int = Field(description="Finished steps that it covers.")
    models: int = Field(description="Models that it compares.")
    warnings: list[str] = Field(description="What does not fit together, for example a stale eval.")
