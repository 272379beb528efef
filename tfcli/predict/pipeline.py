"""`tfcli.pipeline`: a task on a model, called with rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tfcli.console import Console
from tfcli.errors import UsageError
from tfcli.predict.batches import Asked, answers, raised
from tfcli.predict.load import load_task
from tfcli.predict.names import known, resolve
from tfcli.predict.rows import inputs_of
from tfcli.predict.saved import read_saved, save
from tfcli.predict.task import Task


class Pipeline:
    """A task on a model.

    Args:
        task: on a loaded model.
        batch_size: how many inputs the model sees at once.
    """

    def __init__(self, task: Task[Any], batch_size: int = 1) -> None:
        self.task, self.batch_size = task, batch_size

    def __call__(self, inputs: Any = None, **columns: Any) -> Any:
        """The answer to one row, or those to a list of rows.

        Args:
            inputs: a row: its columns by name, or what stands in the only one that it must have; a
                list of rows. A list that is itself a value, such as a conversation, is given by the
                name of its column.
            columns: a row by its columns.

        Raises:
            UsageError: neither or both.
            WorkError: a row that is wrong, or that the model cannot do.
        """
        if (inputs is None) == (not columns):
            raise UsageError("give inputs, or the columns of one row by name", where="inputs")
        if isinstance(inputs, list):
            return list(self.stream(inputs))
        return next(self.stream([columns if inputs is None else inputs]))

    def stream(self, rows: Iterable[Any]) -> Iterator[Any]:
        """The answers to rows, each as soon as its batch is done.

        Raises:
            WorkError: as when called.
        """
        asked = (self._asked(row, number) for number, row in enumerate(rows))
        for answer in answers(self.task, asked, self.batch_size):
            yield raised(answer)

    def _asked(self, row: Any, number: int) -> Asked:
        cls = type(self.task)
        if not isinstance(row, Mapping):
            if len(cls.inputs) != 1:
                raise UsageError(
                    f"{cls.name} reads {' and '.join(cls.inputs)}",
                    where="inputs",
                    fix="give each row as a mapping of these",
                )
            row = {cls.inputs[0]: row}
        where = f"row {number}"
        return Asked(inputs_of(cls, row, {}, Path()), where)

    def save(self, folder: str | Path) -> None:
        """Write the model and its files, with the task and its options, so that
        `pipeline(model=folder)` is this one.

        Raises:
            UsageError: the folder is not empty.
            WorkError: it cannot be written.
        """
        options = self.task.options.model_dump(mode="json", exclude_unset=True)
        save(Path(folder), self.task.asked, options, self.task.parts)


def pipeline(
    task: str | None = None,
    model: str | Path | None = None,
    *,
    batch_size: int = 1,
    load_in: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
    attention: str = "sdpa",
    **options: Any,
) -> Pipeline:
    """A task on a model.

    Args:
        task: its name or an alias; None takes that of a saved pipeline.
        model: a folder or file of any container, or a hub id; None takes the task's own, at a
            commit that does not change.
        batch_size: how many inputs the model sees at once.
        load_in, dtype, device, attention: as the keys of `tfcli predict`.
        options: of the task, such as `top_k`; docs/predict.md lists them.

    Raises:
        UsageError: no such task, option or model, or a family without the task's head.
        WorkError: files that cannot be read.
    """
    if task is None:
        saved = None if model is None else read_saved(Path(model))
        if saved is None:
            raise UsageError("no saved pipeline says the task", where="task", fix="name one")
        task = saved[0]
    if model is None:
        found = known(resolve(task))
        model = None if found is None else found.model
        if model is None:
            raise UsageError(f"{task} has no model of its own", where="model", fix="name one")
    return Pipeline(
        load_task(
            task,
            str(model),
            options,
            Console.silent(),
            load_in=load_in,
            dtype=dtype,
            device=device,
            attention=attention,
        ),
        batch_size,
    )
