"""The report's part on training runs."""

from __future__ import annotations

from collections.abc import Sequence

from tfcli.report.curve import Curve, read_curve
from tfcli.report.figures import course_figure, loss_figure
from tfcli.report.page import Figure, Section, Table
from tfcli.report.steps import Step
from tfcli.report.text import duration
from tfcli.train.spec import TrainResult
from tfcli.units import format_count

WIDE, NARROW = 1000, 440


def training_sections(steps: Sequence[Step]) -> list[Section]:
    """One section a training run: the loss curve, its course in small, and the figures."""
    runs = [step for step in steps if step.command == "train"]
    return [
        _section(step, "Training" if len(runs) == 1 else f"Training: {step.name}") for step in runs
    ]


def _section(step: Step, title: str) -> Section:
    curve = read_curve(step.folder)
    notes = () if curve else (f"{step.name} has no metrics.jsonl, so there is no curve.",)
    figures = _figures(curve, step.value(TrainResult).unit) if curve else ()
    return Section(title, _lead(step), figures, tables=(_table(step),), notes=notes)


def _lead(step: Step) -> str:
    run = step.value(TrainResult)
    where = f"{run.precision} on {run.device}"
    where += f", {run.processes} processes" if run.processes > 1 else ""
    said = (
        f"{format_count(run.parameters)} parameters, {run.steps:,} steps over "
        f"{format_count(run.tokens)} {run.unit}s ({run.epochs:.1f} epochs) in "
        f"{duration(run.seconds)}, {where}."
    )
    if run.resumed_from is not None:
        said += f" The run was interrupted and went on from step {run.resumed_from:,}."
    return said


def _figures(curve: Curve, unit: str) -> tuple[Figure, ...]:
    figures = []
    wide, narrow = (loss_figure(curve, width, unit) for width in (WIDE, NARROW))
    if wide:
        caption = "The pale line is every step; the strong one is its running mean."
        figures.append(Figure(wide, caption, narrow))
    courses = (
        (curve.learning_rate, "learning rate"),
        (curve.gradient_norm, "gradient norm"),
        (curve.tokens_per_second, f"{unit}s/s"),
    )
    for points, name in courses:
        drawn = course_figure(points, name)
        if drawn:
            figures.append(Figure(drawn, ""))
    return tuple(figures)


def _table(step: Step) -> Table:
    run = step.value(TrainResult)
    facts = {"training loss": f"{run.train_loss:.4f}"}
    if run.validation_loss is not None:
        facts["validation loss"] = f"{run.validation_loss:.4f}"
    facts |= {name: f"{value:.4f}" for name, value in run.metrics.items()}
    if run.best_validation_loss is not None:
        facts["best validation loss"] = f"{run.best_validation_loss:.4f}"
    if run.best_step is not None:
        facts["at step"] = f"{run.best_step:,}"
    facts["weights kept"] = run.kept
    facts[f"{run.unit}s/s"] = f"{run.tokens_per_second:,.0f}"
    return Table(("run", *facts), ((step.name, *facts.values()),))
