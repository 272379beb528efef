"""Errors of one pass end the texts of that pass, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tfcli.errors import Problem, WorkError
from tfcli.serve.row import Row


@contextmanager
def blamed(rows: Sequence[Row]) -> Iterator[None]:
    """End these texts with whatever error comes from inside."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - other texts go on, and these are told
        problem = told(error)
        for row in rows:
            row.end("error", problem)


def told(error: Exception) -> Problem:
    """What is said of an error; of one that is a defect, its kind alone."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return WorkError("there is not enough memory", code="memory.full")
    return WorkError(f"unexpected {type(error).__name__}: {error}", code="internal.unexpected")
