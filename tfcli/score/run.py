"""The work of `tfcli score`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tfcli.checkpoints.strict_json import kind
from tfcli.data.documents import read_text
from tfcli.data.row_files import READERS
from tfcli.data.rows import read_rows
from tfcli.errors import WorkError, hint
from tfcli.evaluate.measure import Measure
from tfcli.evaluate.samples import Sample, write_samples
from tfcli.evaluate.uncertainty import mean_measure
from tfcli.metrics.compute import compute, require_libraries
from tfcli.metrics.spec import METRICS
from tfcli.metrics.texts import OF_100, bleu, rouge_scores
from tfcli.recipe.job import Job
from tfcli.score.romanian import require_moses, romanian_words
from tfcli.score.sentences import sentence_lines
from tfcli.score.spec import (
    BY_SENTENCES,
    ScoreConditions,
    ScoreResult,
    ScoreSpec,
)


def run(spec: ScoreSpec, job: Job) -> ScoreResult:
    """Compare predictions with references.

    Raises:
        UsageError: a package that is not installed.
        WorkError: files that cannot be read, or of other lengths.
    """
    require_libraries(spec.metrics)
    if spec.normalize is not None:
        require_moses()
    said = read_texts(spec.predictions, spec.prediction_column)
    right = read_texts(spec.references, spec.reference_column)
    job.has_read(spec.predictions, spec.references)
    if len(said) != len(right):
        raise WorkError(
            f"there are {len(said):,} predictions and {len(right):,} references",
            where=spec.predictions,
            fix="one reference for each prediction, in the same order",
        )
    digest = hashlib.sha256(json.dumps(right).encode()).hexdigest()
    empty = sum(not text.strip() for text in said)
    if spec.normalize is not None:
        said, right = romanian_words(said), romanian_words(right)
    each = _of_each(spec, said, right)
    if job.folder is not None and each:
        write_samples(_samples(each), job.folder)
    return ScoreResult(
        predictions=spec.predictions,
        references=spec.references,
        conditions=ScoreConditions(
            task="score",
            data_sha256=digest,
            samples=len(said),
            normalizer=spec.normalize,
            sentence_lines=spec.sentence_lines if BY_SENTENCES in spec.metrics else None,
        ),
        measures=_measures(spec, said, right, each),
        empty=empty,
    )


def read_texts(path: str, column: str) -> list[str]:
    """The texts of a file: those of a column of rows, or its lines.

    Raises:
        WorkError: not readable, a row without the column, or no text at all.
    """
    if Path(path).suffix.lower() not in READERS:
        text = read_text(Path(path))
        if not text:
            raise WorkError("there is no text in it", where=path)
        return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    found = []
    for row in read_rows(path):
        if column not in row.values:
            raise WorkError(
                f"the row has no {column!r}", where=row.where, fix=hint(column, row.values)
            )
        value = row.values[column]
        if not isinstance(value, str):
            raise WorkError(f"{column!r} is not text, but {kind(value)}", where=row.where)
        found.append(value)
    return found


def _of_each(
    spec: ScoreSpec, said: Sequence[str], right: Sequence[str]
) -> Mapping[str, list[float]]:
    """The scores of each text, for the metrics that are means over texts."""
    names = [name for name in spec.metrics if name.startswith("rouge")]
    found = rouge_scores([name for name in names if name != BY_SENTENCES], said, right)
    if BY_SENTENCES in names:
        if spec.sentence_lines:
            said, right = ([sentence_lines(text) for text in texts] for texts in (said, right))
        found |= rouge_scores([BY_SENTENCES], said, right)
    return {name: found[name] for name in names}


def _measures(
    spec: ScoreSpec,
    said: Sequence[str],
    right: Sequence[str],
    each: Mapping[str, Sequence[float]],
) -> list[Measure]:
    """The figures: means of the scores of texts with their errors, and those of all together."""
    in_words = spec.normalize is not None
    together = [name for name in spec.metrics if name not in each]
    found = {"bleu": bleu(said, right, in_words=True)} if in_words and "bleu" in together else {}
    others = [name for name in together if name not in found]
    if others:
        found |= compute(others, said, right)
    return [
        mean_measure(name, each[name], unit="share", higher_is_better=True)
        if name in each
        else Measure(
            name=name,
            value=found[name],
            unit="points" if name in OF_100 else "share",
            higher_is_better=METRICS[name].higher,
            n=len(said),
        )
        for name in spec.metrics
    ]


def _samples(each: Mapping[str, Sequence[float]]) -> Iterator[Sample]:
    for number, scores in enumerate(zip(*each.values(), strict=True)):
        named = dict(zip(each, scores, strict=True))
        yield Sample(id=str(number), task="score", cluster=None, scores=named)
