"""A pipeline in a folder: the model, and beside it what it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfcli.checkpoints.folder import save_model
from tfcli.checkpoints.strict_json import read_json
from tfcli.errors import UsageError, WorkError
from tfcli.files import write_json
from tfcli.predict.parts import Parts

PIPELINE = "pipeline.json"
"""The file of the folder that names the task and its options."""


def save(folder: Path, task: str, options: Mapping[str, Any], parts: Parts) -> None:
    """Write a model, what lies beside it, and the task with its options.

    Args:
        folder: must not be there, or be empty.

    Raises:
        UsageError: there is something in the folder.
        WorkError: it cannot be written.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", where="folder", fix="choose a new one")
    save_model(parts.model, folder, tokenizer_from=parts.checkpoint.beside)
    parts.checkpoint.carry_along(folder)
    write_json(folder / PIPELINE, {"task": task, "options": dict(options)})


def read_saved(folder: Path) -> tuple[str, dict[str, Any]] | None:
    """The task and the options of a saved pipeline; None of a folder that is none.

    Raises:
        WorkError: the file is not one.
    """
    path = folder / PIPELINE
    if not path.is_file():
        return None
    found = read_json(path)
    task, options = (
        (found.get(key) for key in ("task", "options")) if isinstance(found, dict) else (None, None)
    )
    if not isinstance(task, str) or not isinstance(options, dict):
        raise WorkError("names no task and options", where=str(path))
    return task, options


def saved_options(folder: Path, task: str) -> dict[str, Any]:
    """The options that a saved pipeline has for a task; none of another task."""
    found = read_saved(folder)
    return found[1] if found is not None and found[0] == task else {}
