"""The report's part on tasks: what models reached, and the samples that it comes from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tfcli.evaluate.conditions import Conditions
from tfcli.evaluate.samples import Sample, read_samples
from tfcli.evaluate.spec import EvalResult, TaskResult
from tfcli.report.models import Models
from tfcli.report.page import Detail, Section, Table
from tfcli.report.samples import visible
from tfcli.report.steps import Step

SHOWN = 50
"""Samples of a task and a model that a page has; all are in samples.jsonl beside the record."""
_COLUMNS = ("model", "measure", "value", "95% interval", "samples")


def task_sections(steps: Sequence[Step], models: Models) -> list[Section]:
    """A section for all results of equal conditions, in the order in which they come up."""
    groups: dict[Conditions, list[_Member]] = {}
    for step in steps:
        found = step.value(EvalResult) if step.command == "eval" else None
        if found is None or not found.tasks:
            continue
        label = models.of(step, found.model).label
        samples = _first(step)
        for task in found.tasks:
            member = _Member(label, task, samples.get(task.task, []))
            groups.setdefault(task.conditions, []).append(member)
    return [_section(conditions, members) for conditions, members in groups.items()]


@dataclass(frozen=True)
class _Member:
    """What one model reached on a task, with its first samples."""

    label: str
    task: TaskResult
    samples: Sequence[Sample]


def _section(conditions: Conditions, members: Sequence[_Member]) -> Section:
    rows, details = [], []
    for member in members:
        label, task = member.label, member.task
        for each in task.measures:
            interval = "" if each.interval is None else "{:.4g} to {:.4g}".format(*each.interval)
            rows.append((label, each.name, f"{each.value:.4g}", interval, f"{each.n:,}"))
        details += [
            Detail(f"{label}, sample {sample.id}: {_scores(sample)}", visible(_text(sample)))
            for sample in member.samples
        ]
    return Section(
        f"Task {conditions.task}",
        _lead(conditions),
        tables=(Table(_COLUMNS, tuple(rows), words=2),),
        details=tuple(details),
    )


def _first(step: Step) -> dict[str, list[Sample]]:
    """Task -> the samples of it that are shown."""
    found: dict[str, list[Sample]] = {}
    for sample in read_samples(step.folder):
        shown = found.setdefault(sample.task, [])
        if len(shown) < SHOWN:
            shown.append(sample)
    return found


def _lead(conditions: Conditions) -> str:
    said = [f"{conditions.samples:,} samples"]
    said += [f"{conditions.shots} examples before each"] if conditions.shots else []
    said += [f"version {conditions.task_version}"] if conditions.task_version else []
    said += [f"windows of {conditions.window}"] if conditions.window else []
    said += ["in the chat template"] if conditions.template_sha256 else []
    said += [f"a prefix of {conditions.bos_tokens}"] if conditions.bos_tokens else []
    return f"{', '.join([*said, conditions.dtype])}."


def _scores(sample: Sample) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in sample.scores.items())


def _text(sample: Sample) -> str:
    parts = {"prompt": sample.prompt, "right": sample.target, "answer": sample.answer}
    return "\n\n".join(f"{name}:\n{_shown(value)}" for name, value in parts.items())


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, indent=1)
