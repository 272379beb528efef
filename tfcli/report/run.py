"""`tfcli report`: read the steps, lay out the page, write it twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tfcli.recipe.job import Job
from tfcli.report.headline import headline
from tfcli.report.history import machine_text, record_section
from tfcli.report.models import Models
from tfcli.report.page import Page
from tfcli.report.quality import measures_of, quality_sections
from tfcli.report.render import render_html, render_markdown
from tfcli.report.samples import sample_sections
from tfcli.report.spec import ReportResult, ReportSpec
from tfcli.report.speed import speed_sections
from tfcli.report.steps import Step, load_steps
from tfcli.report.tasks import task_sections
from tfcli.report.training import training_sections

HTML, MARKDOWN = "report.html", "report.md"


def run(spec: ReportSpec, job: Job) -> ReportResult:
    """Write report.html and report.md.

    Raises:
        UsageError: a folder that no finished step made.
        WorkError: a run record that cannot be read.
    """
    steps = load_steps(spec.runs)
    models = Models(steps)
    page = lay_out(spec.title, steps, models)
    for warning in page.warnings:
        job.console.warn(warning)
    (job.output / HTML).write_text(render_html(page), encoding="utf-8")
    (job.output / MARKDOWN).write_text(render_markdown(page), encoding="utf-8")
    return ReportResult(
        html=str(Path(spec.output) / HTML),
        markdown=str(Path(spec.output) / MARKDOWN),
        steps=len(steps),
        models=len(models.all),
        warnings=list(page.warnings),
    )


def lay_out(title: str, steps: Sequence[Step], models: Models) -> Page:
    """The page of these steps: a section for each kind of work that was done."""
    measures = measures_of(steps, models)
    sections = [
        *training_sections(steps),
        *quality_sections(measures, models),
        *task_sections(steps, models),
        *speed_sections(steps, models),
        *sample_sections(steps, models),
        record_section(steps),
    ]
    return Page(
        title,
        _subtitle(steps),
        tuple(headline(measures, models)),
        tuple(sections),
        tuple(dict.fromkeys(models.warnings)),
    )


def _subtitle(steps: Sequence[Step]) -> str:
    """When the last step started, and the machine if there was only one."""
    last = max(steps, key=lambda step: str(step.record["started"]))
    said = [str(last.record["started"])[:10]]
    machines = {machine_text(step.record["machine"]) for step in steps}
    if len(machines) == 1:
        said.extend(machines)
    return " · ".join(said)
