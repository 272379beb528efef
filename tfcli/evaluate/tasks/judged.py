"""From samples that were judged one by one to measures of a task, and to what is kept of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfcli.errors import UsageError, WorkError
from tfcli.evaluate.measure import Measure
from tfcli.evaluate.samples import Sample
from tfcli.evaluate.tasks.metric import Clusters, Metric, measures, score_of


@dataclass(frozen=True)
class Row:
    """One sample that was judged.

    Args:
        items: what a measure is called -> its item, see `metric`.
        prompt: what the model read.
        target: what is right.
        answer: what the model gave.
    """

    items: Mapping[str, Any]
    prompt: str
    target: Any
    answer: Any


@dataclass(frozen=True)
class Judged:
    """What came of a task.

    Args:
        measures: of all samples.
        samples: each, with what it was asked, what the model answered and how that is judged.
    """

    measures: list[Measure]
    samples: list[Sample]


def judged_of(
    task: str, rows: Sequence[Row], metrics: Mapping[str, Metric], clusters: Clusters
) -> Judged:
    """The measures of a task and its samples.

    Args:
        task: its name.
        rows: its samples.
        metrics: what a measure is called -> which metric it is.
        clusters: which cluster each sample is in; None: each is its own.

    Raises:
        WorkError: there are no samples.
    """
    if not rows:
        raise WorkError("there are no samples", where=task)
    found = []
    for label in rows[0].items:
        found += measures(metrics[label], label, [row.items[label] for row in rows], clusters)
    return Judged(
        found,
        [
            _sample(task, number, row, metrics, None if clusters is None else str(clusters[number]))
            for number, row in enumerate(rows)
        ],
    )


def _sample(
    task: str, number: int, row: Row, metrics: Mapping[str, Metric], cluster: str | None
) -> Sample:
    scores, weights = {}, {}
    for label, item in row.items.items():
        part = score_of(metrics[label], label, item)
        if part is not None:
            name, scores[part[0]], weight = part[0], part[1], part[2]
            if weight != 1:
                weights[name] = weight
    return Sample(
        id=str(number),
        task=task,
        cluster=cluster,
        scores=scores,
        weights=weights,
        prompt=row.prompt,
        target=row.target,
        answer=row.answer,
    )


def clusters_of(task: str, column: str | None, docs: Sequence[Mapping[str, Any]]) -> Clusters:
    """The cluster of each sample, from the column that the task names.

    Raises:
        UsageError: the samples lack it.
    """
    if column is None:
        return None
    for number, doc in enumerate(docs):
        if column not in doc:
            raise UsageError(
                f"sample {number} has no column {column!r}",
                where=f"{task}: metadata.cluster",
                fix=f"known: {', '.join(doc)}",
            )
    return [str(doc[column]) for doc in docs]
