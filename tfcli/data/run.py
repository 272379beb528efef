"""The work of `tfcli data`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tfcli.data.documents import Document, load_documents, python_docs
from tfcli.data.drawings import Drawing, draw, drawings
from tfcli.data.exercises import exercise_rows
from tfcli.data.paragraphs import keep_once
from tfcli.data.spec import DataResult, DataSpec, SplitSize
from tfcli.data.split import split_documents
from tfcli.errors import WorkError
from tfcli.recipe.job import Job
from tfcli.recipe.shared_keys import DRAWINGS, PYTHON_DOCS
from tfcli.units import plural


def run(spec: DataSpec, job: Job) -> DataResult:
    """Read, keep each paragraph once, split, and write a .jsonl file a split.

    Raises:
        UsageError: the source is of an unknown kind, or has too few documents to split.
        WorkError: a file that cannot be read as text, or nothing that an exercise is made of.
    """
    if spec.source == PYTHON_DOCS.name:
        found = python_docs()
    elif spec.source == DRAWINGS.name:
        found = list(drawings())
    else:
        found = load_documents(spec.source, spec.text_field, console=job.console)
    job.has_read(spec.source)
    job.console.note(plural(len(found), "document"))
    clean = keep_once(found)
    splits = split_documents(
        clean.documents, validation=spec.validation, test=spec.test, seed=spec.seed
    )
    rows = None
    if spec.exercise is not None:
        made = {
            name: exercise_rows(spec.exercise, documents, spec.seed)
            for name, documents in splits.items()
        }
        if not made["train"]:
            raise WorkError(
                f"there is nothing in the documents that {spec.exercise} are made of",
                where=spec.source,
                fix="leave out exercise",
            )
        rows = {name: len(each) for name, each in made.items()}
        for name, each in made.items():
            write_lines(job.output / f"{name}.jsonl", each)
        for documents in splits.values():
            for document in documents:
                if isinstance(document, Drawing):
                    draw(document, job.output)
    else:
        for name, documents in splits.items():
            write_documents(job.output / f"{name}.jsonl", documents)
    return DataResult(
        source=spec.source,
        documents=len(clean.documents),
        documents_dropped=clean.documents_dropped,
        paragraphs=clean.paragraphs,
        paragraphs_dropped=clean.paragraphs_dropped,
        splits={name: measure(documents) for name, documents in splits.items()},
        rows=rows,
    )


def write_documents(path: Path, documents: list[Document]) -> None:
    """Write documents as one JSON object a line."""
    write_lines(path, ({"id": document.id, "text": document.text} for document in documents))


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as one JSON object a line."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def measure(documents: list[Document]) -> SplitSize:
    """How much text some documents hold."""
    return SplitSize(
        documents=len(documents),
        characters=sum(len(document.text) for document in documents),
        bytes=sum(len(document.text.encode()) for document in documents),
    )
