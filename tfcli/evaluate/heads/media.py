"""The images and recordings that a task's rows name, for what its step depends on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tfcli.errors import Problem
from tfcli.evaluate.heads.file import HeadFile
from tfcli.evaluate.heads.registry import KINDS
from tfcli.evaluate.tasks.data import rows_of, tested_split
from tfcli.evaluate.tasks.file import Task
from tfcli.predict.media import medium_of
from tfcli.predict.rows import FOLDER


def media_of_task(task: Task[HeadFile]) -> Iterator[Path]:
    """The files of media that are there. What cannot be read is left out: whoever reads the task
    says what is wrong."""
    columns = [task.file.columns.get(name, name) for name in KINDS[task.file.output_type].media]
    if not columns:
        return
    try:
        rows = rows_of(task, tested_split(task))
        for row in rows:
            for column in columns:
                if row.values.get(column) is None:
                    continue
                medium = medium_of({FOLDER: row.folder, **row.values}, column)
                if isinstance(medium, Path) and medium.is_file():
                    yield medium
    except Problem:
        return
