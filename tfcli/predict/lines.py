"""The output: a line of JSON for each row, and what an interrupted run has left of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tfcli.errors import Problem, WorkError
from tfcli.predict.batches import Answer


def line_of(number: int, answer: Answer) -> str:
    """The line of a row, with its end: its number, the columns that go along, and `output` or
    `error`.

    Raises:
        WorkError: a column that goes along is nothing that JSON has.
    """
    values: dict[str, Any] = {"row": number, **answer.asked.kept}
    if answer.problem is None:
        values["output"] = answer.value
    else:
        values["error"] = said(answer.problem)
    try:
        return json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise WorkError(f"cannot be written as JSON: {error}", where=answer.asked.where) from error


def said(problem: Problem) -> str:
    """What is wrong, in a line."""
    return problem.what if problem.where is None else f"{problem.where}: {problem.what}"


def resume(path: Path) -> list[str | None]:
    """What the whole lines of an interrupted output say is wrong with each row, None where nothing
    is; a line that was cut off is taken away.

    Raises:
        WorkError: a line that this program did not write.
    """
    if not path.is_file():
        return []
    errors: list[str | None] = []
    end = 0
    with path.open("r+b") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            errors.append(_error_of(line, len(errors), path))
            end += len(line)
        file.truncate(end)
    return errors


def _error_of(line: bytes, number: int, path: Path) -> str | None:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("row") != number:
        raise WorkError("is no output of an interrupted run", where=f"{path}:{number + 1}")
    error: str | None = found.get("error")
    return error
