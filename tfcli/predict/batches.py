"""Rows through a task: batches over the rows' bounds, answers in the rows' order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from tfcli.errors import Problem, WorkError
from tfcli.predict.task import Sample, Task


@dataclass(frozen=True)
class Asked:
    """A row that is to be answered.

    Args:
        values: input of the task -> what the row has there; or what is wrong with the row.
        where: what to call it in errors.
        kept: what of it goes along into the output.
    """

    values: Mapping[str, Any] | Problem
    where: str
    kept: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What became of a row.

    Args:
        value: the task's answer; None where there is a problem.
        problem: why there is none.
        asked: the row.
    """

    value: Any
    problem: Problem | None
    asked: Asked


@dataclass(eq=False)
class _Row:
    """A row on its way: its samples, and what the model has said of the first of them."""

    asked: Asked
    samples: Sequence[Sample] = ()
    outputs: list[Any] = field(default_factory=list)
    problem: Problem | None = None

    @property
    def is_done(self) -> bool:
        return self.problem is not None or len(self.outputs) == len(self.samples)


def answers(task: Task[Any], rows: Iterable[Asked], batch_size: int) -> Iterator[Answer]:
    """The answer to each row, in their order.

    A row is read when there is room for its samples in a batch. What is wrong with one is given in
    its place, and stops nothing.

    Args:
        task: on a model.
        rows: what is asked.
        batch_size: samples that the model sees at once, at most.
    """
    waiting: deque[_Row] = deque()
    open_samples: deque[tuple[_Row, Sample]] = deque()
    for asked in rows:
        row = _begun(task, asked)
        waiting.append(row)
        open_samples.extend((row, sample) for sample in row.samples)
        while len(open_samples) >= batch_size:
            _run(task, open_samples, batch_size)
        yield from _done(task, waiting)
    while open_samples:
        _run(task, open_samples, batch_size)
    yield from _done(task, waiting)


def _begun(task: Task[Any], asked: Asked) -> _Row:
    if isinstance(asked.values, Problem):
        return _Row(asked, problem=asked.values)
    try:
        return _Row(asked, task.preprocess(asked.values))
    except Problem as problem:
        return _Row(asked, problem=problem)


def _run(task: Task[Any], open_samples: deque[tuple[_Row, Sample]], batch_size: int) -> None:
    """Take the next samples that go into one batch through the model."""
    taken = [open_samples.popleft()]
    while open_samples and len(taken) < batch_size:
        if not task.together(taken[0][1], open_samples[0][1]):
            break
        taken.append(open_samples.popleft())
    try:
        outputs = _forward(task, [sample for _, sample in taken])
    except Problem as problem:
        if len(taken) == 1:
            taken[0][0].problem = problem
            return
        for one in taken:  # so that a sample that cannot be done takes no other along
            _run(task, deque([one]), 1)
        return
    for (row, _), output in zip(taken, outputs, strict=True):
        row.outputs.append(output)


def _forward(task: Task[Any], samples: Sequence[Sample]) -> Sequence[Any]:
    with torch.inference_mode():
        return task.forward(task.batch(samples))


def _done(task: Task[Any], waiting: deque[_Row]) -> Iterator[Answer]:
    """The answers to the first rows, as far as these are done."""
    while waiting and waiting[0].is_done:
        yield _answer(task, waiting.popleft())


def _answer(task: Task[Any], row: _Row) -> Answer:
    if row.problem is None:
        try:
            return Answer(task.postprocess(row.samples, row.outputs), None, row.asked)
        except Problem as problem:
            row.problem = problem
    return Answer(None, row.problem, row.asked)


def raised(answer: Answer) -> Any:
    """The value of an answer.

    Raises:
        Problem: there is none; it names the row.
    """
    if answer.problem is None:
        return answer.value
    problem = answer.problem
    raise WorkError(
        problem.what,
        where=f"{answer.asked.where}: {problem.where}" if problem.where else answer.asked.where,
        fix=problem.fix,
    ) from problem
