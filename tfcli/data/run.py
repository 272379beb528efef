"""The work of `tfcli data`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfcli.data.documents import Document, load_documents, python_docs
from tfcli.data.paragraphs import keep_once
from tfcli.data.questions import Question, questions_of
from tfcli.data.spec import DataResult, DataSpec, SplitSize
from tfcli.data.split import split_documents
from tfcli.errors import WorkError
from tfcli.recipe.job import Job
from tfcli.recipe.shared_keys import PYTHON_DOCS
from tfcli.units import plural


def run(spec: DataSpec, job: Job) -> DataResult:
    """Read, keep each paragraph once, split, and write a .jsonl file a split.

    Raises:
        UsageError: the source is of an unknown kind, or has too few documents to split.
        WorkError: a file that cannot be read as text, or nothing that questions can be made of.
    """
    if spec.source == PYTHON_DOCS.name:
        found = python_docs()
    else:
        found = load_documents(spec.source, spec.text_field, console=job.console)
    job.has_read(spec.source)
    job.console.note(plural(len(found), "document"))
    clean = keep_once(found)
    splits: Mapping[str, Sequence[Document]] = split_documents(
        clean.documents, validation=spec.validation, test=spec.test, seed=spec.seed
    )
    if spec.questions:
        splits = {
            name: [each for document in documents for each in questions_of(document)]
            for name, documents in splits.items()
        }
        if not splits["train"]:
            raise WorkError(
                "no document has a heading with a paragraph below it",
                where=spec.source,
                fix="leave out questions",
            )
    for name, documents in splits.items():
        write_documents(job.output / f"{name}.jsonl", documents)
    return DataResult(
        source=spec.source,
        documents=len(clean.documents),
        documents_dropped=clean.documents_dropped,
        paragraphs=clean.paragraphs,
        paragraphs_dropped=clean.paragraphs_dropped,
        splits={name: measure(documents) for name, documents in splits.items()},
    )


def write_documents(path: Path, documents: Sequence[Document]) -> None:
    """Write documents as one JSON object a line, with `text`, or a question's with `messages`."""
    with path.open("w", encoding="utf-8") as file:
        for document in documents:
            said = (
                {"messages": document.messages}
                if isinstance(document, Question)
                else {"text": document.text}
            )
            file.write(json.dumps({"id": document.id, **said}, ensure_ascii=False) + "\n")


def measure(documents: Sequence[Document]) -> SplitSize:
    """How much text some documents hold."""
    return SplitSize(
        documents=len(documents),
        characters=sum(len(document.text) for document in documents),
        bytes=sum(len(document.text.encode()) for document in documents),
    )
