"""The answers of a task of `tfcli predict` to questions: those that are kept, and the rest."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfcli.errors import UsageError
from tfcli.evaluate.heads.kind import Question
from tfcli.evaluate.kept import Kept
from tfcli.predict.batches import Asked, answers, raised
from tfcli.predict.media import medium_of
from tfcli.predict.rows import FOLDER
from tfcli.predict.task import Task
from tfcli.process_group import Processes

_PART = 64  # batches after which answers are kept


def answered(
    task: Task[Any],
    questions: Sequence[Question],
    *,
    media: Sequence[str],
    vectors: bool,
    batch_size: int,
    kept: Kept,
    processes: Processes,
    advance: Callable[[int], None],
) -> list[Any]:
    """The answer to each question.

    One that comes again is asked once. Several processes share the questions, and all get all
    answers.

    Args:
        task: on a model with its weights.
        questions: in their order.
        media: inputs that are images or recordings.
        vectors: answers are vectors, which are kept as their bytes.
        batch_size: inputs of a forward pass.
        kept: answers of earlier runs.
        processes: those that share the work.
        advance: told how many questions are done.

    Raises:
        WorkError: a question that the model cannot answer, by its row.
    """
    keys = [Kept.key("head", *_content(each, media)) for each in questions]
    known = kept.known(keys)
    first: dict[str, Question] = {}
    for key, question in zip(keys, questions, strict=True):
        if key not in known:
            first.setdefault(key, question)
    waiting = list(first.items())
    advance(len(questions) - len(waiting))
    step = batch_size * processes.count * _PART
    for start in range(0, len(waiting), step):
        part = waiting[start : start + step]
        mine = part[processes.rank :: processes.count]
        rows = [Asked({FOLDER: q.folder, **q.inputs}, q.where) for _, q in mine]
        found = [raised(each) for each in answers(task, rows, batch_size)]
        said = [_packed(each) for each in found] if vectors else found
        pairs = [(key, each) for (key, _), each in zip(mine, said, strict=True)]
        known |= kept.keep(dict(processes.gathered(pairs)))
        advance(len(part))
    return [_unpacked(known[key]) if vectors else known[key] for key in keys]


def hashable(
    values: Mapping[str, Any], columns: Sequence[str], folder: Path, where: str
) -> dict[str, Any]:
    """A row with the hashes of images and recordings in their places, where these are files.

    Args:
        values: of the row.
        columns: in which media stand.
        folder: from which paths lead on.
        where: of the row, for errors.

    Raises:
        UsageError: a file that is not there.
    """
    found = dict(values)
    for column in columns:
        if found.get(column) is None:
            continue
        medium = medium_of({FOLDER: folder, column: found[column]}, column)
        if isinstance(medium, Path):
            if not medium.is_file():
                raise UsageError(
                    f"there is no such file: {medium}",
                    where=f"{where}: {column}",
                    code="input.missing",
                )
            found[column] = hashlib.sha256(medium.read_bytes()).hexdigest()
        elif isinstance(medium, bytes):
            found[column] = hashlib.sha256(medium).hexdigest()
    return found


def _content(question: Question, media: Sequence[str]) -> list[tuple[str, Any]]:
    found = hashable(question.inputs, media, question.folder, question.where)
    return sorted(found.items())


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()


def _unpacked(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")
