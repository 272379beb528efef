"""A kind of task of a model with a head: what of a row is asked, what is right, how it is judged.

A kind names the task of `tfcli predict` that gives the answers. It is made of a task's rows before
the model's weights are read, and refuses then what no weights can change: columns that are not
there, labels that the model has not, metrics that do not fit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from tfcli.data.rows import Row as DataRow
from tfcli.errors import UsageError, hint
from tfcli.evaluate.heads.file import HeadFile
from tfcli.evaluate.tasks.file import Task
from tfcli.evaluate.tasks.judged import Row
from tfcli.evaluate.tasks.metric import Metric
from tfcli.models.config import BaseConfig

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Question:
    """What the task of `tfcli predict` is asked at once.

    Args:
        inputs: input of that task -> what the row has there.
        where: what to call it in errors.
        folder: from which paths lead on.
    """

    inputs: Mapping[str, Any]
    where: str
    folder: Path = Path()


@dataclass(frozen=True)
class Wanted:
    """A figure that is measured.

    Args:
        name: of the metric.
        label: what the measure is called: the name, with its number where it has one.
        metric: what it is.
        options: of its entry in the file, with one `k` alone.
    """

    name: str
    label: str
    metric: Metric
    options: Options = field(default_factory=dict)

    @property
    def k(self) -> int:
        """How many of the first answers it looks at."""
        return int(self.options["k"])


class Kind(ABC):
    """One kind of task.

    Class attributes:
        predict: the task of `tfcli predict` that answers.
        asks: what a row must have, by the names of `columns`.
        may_ask: what it may have.
        media: which of them are images or recordings.
        reads_text: whether the model reads tokens, so that figures depend on its tokenizer.
        vectors: whether answers are vectors.
        table: its metrics.
        fixed: options of the task of `tfcli predict` that the measuring decides.
        k: the `k` of a metric whose entry names none.

    Args:
        task: from its file.
        config: of the model.
        rows: of the split, at least one.
        metrics: metric -> its options; None: the usual ones.
        limit: rows at most; None: all.

    Attributes:
        rows: that are measured.
        golds: what is right for each of them.
        wanted: what is measured.
    """

    predict: ClassVar[str]
    asks: ClassVar[tuple[str, ...]]
    may_ask: ClassVar[tuple[str, ...]] = ()
    media: ClassVar[tuple[str, ...]] = ()
    reads_text: ClassVar[bool] = True
    vectors: ClassVar[bool] = False
    table: ClassVar[Mapping[str, Metric]]
    fixed: ClassVar[tuple[str, ...]] = ()
    k: ClassVar[int] = 10

    def __init__(
        self,
        task: Task[HeadFile],
        config: BaseConfig,
        rows: Sequence[DataRow],
        metrics: Mapping[str, Options] | None,
        limit: int | None = None,
    ) -> None:
        self.task, self.config = task, config
        self.rows = self.measured(rows)[:limit]
        self.golds = self.read_golds()
        names = {name: {} for name in self.usual()} if metrics is None else metrics
        self.wanted = [each for name in names for each in self._wanted(name, names[name])]
        self.check_metrics()

    def measured(self, rows: Sequence[DataRow]) -> Sequence[DataRow]:
        """Those of the rows that can be measured."""
        return rows

    @abstractmethod
    def read_golds(self) -> Sequence[Any]:
        """What is right for each row.

        Raises:
            UsageError: what stands there is nothing of the kind.
        """

    @abstractmethod
    def usual(self) -> Sequence[str]:
        """The metrics of a file that names none."""

    @abstractmethod
    def check_metrics(self) -> None:
        """Refuse metrics that do not fit the golds or the model.

        Raises:
            UsageError: naming one.
        """

    def options(self) -> dict[str, Any]:
        """What the task of `tfcli predict` is asked for beside the options of the file."""
        return {}

    def questions(self) -> list[Question]:
        """What is asked, in an order that `judge` knows."""
        return [
            Question(self._inputs(row, number), row.where, row.folder)
            for number, row in enumerate(self.rows)
        ]

    def _inputs(self, row: DataRow, number: int) -> dict[str, Any]:
        """What is asked of a row: all that it must have, and what it has of the rest."""
        more = [name for name in self.may_ask if row.values.get(self.column(name)) is not None]
        return {name: self.value(row, number, name) for name in (*self.asks, *more)}

    @abstractmethod
    def judge(self, answers: Sequence[Any]) -> list[Row]:
        """The samples with their items, from the answers to all questions."""

    def data(self) -> Sequence[DataRow]:
        """All rows that the figures depend on."""
        return self.rows

    def where(self, what: str) -> str:
        """A place of the task, for errors."""
        return f"{self.task.name}: {what}"

    def column(self, name: str) -> str:
        """The column in which something stands."""
        return self.task.file.columns.get(name, name)

    def value(self, row: DataRow, number: int, name: str) -> Any:
        """What a row has of what is asked.

        Raises:
            UsageError: it has no such column, or nothing there.
        """
        return self._at(row, number, self.column(name), f"columns.{name}")

    def gold(self, row: DataRow, number: int) -> Any:
        """What a row has in the column of what is right.

        Raises:
            UsageError: it has no such column.
        """
        return self._at(row, number, str(self.task.file.gold), "gold", or_nothing=True)

    def _at(
        self, row: DataRow, number: int, column: str, key: str, or_nothing: bool = False
    ) -> Any:
        if column not in row.values or (row.values[column] is None and not or_nothing):
            raise UsageError(
                f"sample {number} has no {column!r}",
                where=self.where(key),
                fix=hint(column, list(row.values)),
            )
        return row.values[column]

    def _wanted(self, name: str, options: Options) -> list[Wanted]:
        metric = self.table[name]
        if "k" not in metric.options:
            return [Wanted(name, name, metric, options)]
        each = options.get("k", self.k)
        found = each if isinstance(each, list) else [each]
        for k in found:
            if not isinstance(k, int) or isinstance(k, bool) or k < 1:
                raise UsageError(
                    f"k of {name} is a number from 1 on, or a list of them, and not {k!r}",
                    where=self.where("metric_list"),
                )
        stem = name.removesuffix("_k")
        return [Wanted(name, f"{stem}_{k}", metric, {**options, "k": k}) for k in found]


def require_number(value: Any, where: str, number: int) -> float:
    """A gold that is a number.

    Raises:
        UsageError: it is none.
    """
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise UsageError(f"the gold of sample {number} is no number", where=where)
    return float(value)
