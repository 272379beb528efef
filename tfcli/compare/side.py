"""One side of a comparison: what an evaluation's folder says of its conditions and samples.

Any step can be compared whose result has `conditions` and `measures`, and whose folder has
samples.jsonl.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from tfcli.errors import UsageError, WorkError
from tfcli.evaluate.measure import Measure
from tfcli.evaluate.samples import FILE, Sample, read_samples
from tfcli.recipe.record import is_intact
from tfcli.report.steps import Step, load_steps


class _Part(BaseModel):
    """The conditions and figures of a result, or of one of its tasks."""

    conditions: dict[str, Any]
    measures: list[Measure]


@dataclass(frozen=True)
class Side:
    """One evaluation.

    Args:
        folder: of its artifact.
        conditions: name, of several tasks `task/name` -> what the figures depend on.
        measures: name, of several tasks `task/name` -> the measure.
        samples: measure -> (task, id) -> the sample; only measures that samples have scores of.
    """

    folder: str
    conditions: Mapping[str, Any]
    measures: Mapping[str, Measure]
    samples: Mapping[str, Mapping[tuple[str, str], Sample]]

    def score(self, measure: str, at: tuple[str, str]) -> float:
        """A sample's score."""
        return self.samples[measure][at].scores[_own_name(measure, at[0])]

    def weight(self, measure: str, at: tuple[str, str]) -> float:
        """What a sample counts in the mean of a measure."""
        return self.samples[measure][at].weights.get(_own_name(measure, at[0]), 1.0)


def read_side(folder: str, key: str) -> Side:
    """Read an evaluation.

    Args:
        folder: of its artifact.
        key: that names it, for errors.

    Raises:
        UsageError: not the folder of a finished step, or of one that measures nothing by samples.
        WorkError: a record or samples that are damaged or were edited.
    """
    (step,) = load_steps([folder], key)
    parts = _parts(step, key)
    if not (step.folder / FILE).is_file():
        raise UsageError(
            f"{folder} has no {FILE}: none of its measures is a mean over samples", where=key
        )
    if not is_intact(step.folder, step.record):
        raise WorkError(
            "a file in it is not as the step wrote it", where=folder, fix="run that step again"
        )
    measures = {
        _full_name(task, each.name): each for task, part in parts.items() for each in part.measures
    }
    conditions = {
        _full_name(task, name): value
        for task, part in parts.items()
        for name, value in part.conditions.items()
    }
    return Side(folder, conditions, measures, _by_measure(read_samples(step.folder), measures))


def _parts(step: Step, key: str) -> dict[str, _Part]:
    """What was measured together: of several tasks each by its name, else all of it under ""."""
    values = step.record["result"]
    tasks = values.get("tasks") or []
    several = {each["task"]: each for each in tasks} if len(tasks) > 1 else {"": values}
    try:
        return {task: _Part.model_validate(each) for task, each in several.items()}
    except ValidationError as error:
        raise UsageError(
            f"{step.folder} was made by {step.command}, which measures nothing by samples",
            where=key,
            fix="compare the folders of tfcli eval or tfcli score",
        ) from error


def _by_measure(
    samples: Sequence[Sample], measures: Mapping[str, Measure]
) -> dict[str, dict[tuple[str, str], Sample]]:
    found: dict[str, dict[tuple[str, str], Sample]] = {}
    for sample in samples:
        for own in sample.scores:
            name = own if own in measures else _full_name(sample.task, own)
            if name in measures:
                found.setdefault(name, {})[sample.task, sample.id] = sample
    return {name: found[name] for name in measures if name in found}


def _full_name(task: str, name: str) -> str:
    return f"{task}/{name}" if task and not name.startswith(f"{task}/") else name


def _own_name(measure: str, task: str) -> str:
    return measure.removeprefix(f"{task}/")
