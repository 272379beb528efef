"""The work of `tfcli predict`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from tfcli.devices import dtype_name
from tfcli.errors import UsageError
from tfcli.generation.display import writer
from tfcli.predict.batches import answers, raised
from tfcli.predict.lines import line_of, resume, said
from tfcli.predict.load import load_task
from tfcli.predict.names import task_class
from tfcli.predict.rows import asked, check_columns, open_input
from tfcli.predict.spec import STANDARD, BadRow, PredictResult, PredictSpec
from tfcli.recipe.job import Job

SHOWN = 10
"""Rows without a prediction that the result names."""


@dataclass
class _Bad:
    """Rows without a prediction: how many, and the first of them."""

    count: int = 0
    first: list[BadRow] = field(default_factory=list)

    def add(self, number: int, where: str, error: str) -> None:
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(BadRow(row=number, where=where, error=error))


def run(spec: PredictSpec, job: Job) -> PredictResult:
    """Write the prediction for each row.

    Raises:
        UsageError: an option or a column that the task has not, a model without its head, or lines
            for a standard output that is not theirs.
        WorkError: files that cannot be read; with `on_error: stop`, a row that is wrong.
    """
    if spec.output == STANDARD and job.out is None:
        raise UsageError(
            "standard output belongs to the result here, or to the recipe",
            where="output",
            fix="name a file, or leave out --json",
        )
    rows = open_input(spec)
    check_columns(task_class(spec.task), spec, rows)
    task = load_task(
        spec.task,
        spec.model,
        spec.options,
        job.console,
        load_in=spec.load_in,
        dtype=spec.dtype,
        device=spec.device,
        attention=spec.attention,
    )
    path = None if spec.output == STANDARD else job.output / Path(spec.output).name
    before = [] if path is None else resume(path)
    if before:
        job.console.note(f"{len(before):,} rows are there from an interrupted run")
    bad = _Bad()
    for number, error in enumerate(before):
        if error is not None:
            bad.add(number, f"row {number}", error)
    began, resumed = perf_counter(), len(before)
    with (
        _lines(path, job) as write,
        job.console.progress("predicting", len(rows) - resumed, "rows") as bar,
    ):
        wanted = asked(type(task), rows, spec, resumed)
        found = answers(task, wanted, spec.batch_size)
        for number, answer in enumerate(found, resumed):
            if answer.problem is not None and spec.on_error == "stop":
                raised(answer)
            if answer.problem is not None:
                bad.add(number, answer.asked.where, said(answer.problem))
            write(line_of(number, answer))
            bar.advance(1)
    seconds = perf_counter() - began
    for each in bad.first:
        job.console.warn(f"{each.where}: {each.error}")
    return PredictResult(
        task=spec.task,
        model=spec.model,
        output=spec.output,
        rows=len(rows),
        failed=bad.count,
        resumed=resumed,
        bad_rows=bad.first,
        dtype=dtype_name(task.parts.model.dtype),
        device=task.parts.device.type,
        seconds=seconds,
        rows_per_second=(len(rows) - resumed) / seconds,
    )


@contextmanager
def _lines(path: Path | None, job: Job) -> Iterator[Callable[[str], None]]:
    """Where lines go: at the end of a file, or to standard output."""
    if path is None:
        assert job.out is not None, "it was looked at before"
        yield writer(job.out)
        return
    with path.open("a", encoding="utf-8") as file:

        def write(line: str) -> None:
            file.write(line)
            file.flush()

        yield write
