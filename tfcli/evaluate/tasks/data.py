"""The samples of a task: rows of files, of the hub, or what tfcli makes of Python's own text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfcli.data.row_files import open_rows
from tfcli.data.rows import Row, Rows, read_rows
from tfcli.errors import UsageError, WorkError, hint
from tfcli.evaluate.tasks.file import LOADERS, OWN, Task, beside, data_files
from tfcli.evaluate.tasks.made import MADE, made_rows

Doc = Mapping[str, Any]


def read_split(task: Task[Any], split: str) -> list[Doc]:
    """The samples of one split, in their order.

    Raises:
        UsageError, WorkError: as `rows_of`.
    """
    return [dict(row.values) for row in rows_of(task, split)]


def tested_split(task: Task[Any]) -> str:
    """The split that is measured on: the test split, else the validation split.

    Raises:
        UsageError: the task has neither.
    """
    split: str | None = task.file.test_split or task.file.validation_split
    if split is None:
        raise UsageError("the task has no test_split and no validation_split", where=task.name)
    return split


def rows_of(task: Task[Any], split: str) -> list[Row]:
    """The rows of one split, in their order.

    Raises:
        UsageError: a split, a file or a set of data that is not there, or options that are not
            followed.
        WorkError: a broken file.
    """
    file = task.file
    where = f"{file.task}: dataset_path"
    if file.dataset_path is None:
        raise UsageError("the task names no data: it has no dataset_path", where=where)
    if file.dataset_path == OWN:
        if file.dataset_name not in MADE:
            raise UsageError(
                f"tfcli makes no data {file.dataset_name!r}",
                where=f"{file.task}: dataset_name",
                fix=hint(str(file.dataset_name), MADE),
            )
        return [Row(values, file.task) for values in made_rows(file.dataset_name, split)]
    options = set(file.dataset_kwargs or {}) - {"data_files", "trust_remote_code"}
    if options:
        raise UsageError(
            f"{', '.join(sorted(options))} of dataset_kwargs are not followed",
            where=f"{file.task}: dataset_kwargs",
            fix="name local files with data_files",
        )
    if file.dataset_path in LOADERS:
        files = _files(task, split)
        found: Sequence[Row] = Rows([open_rows(each) for each in files])
    else:
        place = Path(task.folder / file.dataset_path)
        name = f":{file.dataset_name}" if file.dataset_name else ""
        ref = str(place) if place.exists() else f"{file.dataset_path}{name}"
        found = read_rows(ref, split=split)
    if not found:
        raise WorkError("there are no samples in it", where=where)
    return list(found)


def data_digest(docs: Sequence[Doc]) -> str:
    """The hash of samples' content."""
    said = hashlib.sha256()
    for doc in docs:
        said.update(json.dumps(doc, sort_keys=True, default=repr).encode("utf-8", "surrogatepass"))
        said.update(b"\n")
    return said.hexdigest()


def _files(task: Task[Any], split: str) -> list[Path]:
    given = (task.file.dataset_kwargs or {}).get("data_files")
    where = f"{task.file.task}: dataset_kwargs.data_files"
    if given is None:
        raise UsageError(f"dataset_path {task.file.dataset_path} needs data_files", where=where)
    by_split = given if isinstance(given, dict) else {"train": given}
    if split not in by_split:
        raise UsageError(
            f"there is no split {split!r}", where=where, fix=hint(split, list(by_split))
        )
    found = []
    for name in data_files(by_split[split]):
        place = beside(name, task.folder)
        if place is None:
            raise UsageError(f"there is no such file: {name}", where=where, code="input.missing")
        found.append(place)
    return found
