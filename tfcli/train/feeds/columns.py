"""Rows of columns, as the objectives that learn from rows read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tfcli.checkpoints.strict_json import kind
from tfcli.console import Console
from tfcli.data.rows import Row, read_rows, row_shards
from tfcli.errors import UsageError, WorkError, hint
from tfcli.train.batch import Example
from tfcli.train.data_spec import DataSource
from tfcli.train.feeds.feed import Source, seed_of
from tfcli.train.feeds.mixture import mixed
from tfcli.train.feeds.shuffled import Shuffled
from tfcli.train.feeds.streamed import Streamed
from tfcli.train.objectives.objective import Examples
from tfcli.train.objectives.spec import columns_of
from tfcli.train.spec import TrainSpec

T = TypeVar("T", str, list[Any])


@dataclass(frozen=True)
class Table:
    """Rows, and which column has what of them.

    Args:
        rows: at least one.
        columns: what an objective takes of a row -> the column.
        others: the tables that are trained on beside it, where there are several.
        more: further rows come later.
    """

    rows: Sequence[Row]
    columns: dict[str, str]
    others: Sequence[Table] = ()
    more: bool = False

    @property
    def together(self) -> Sequence[Table]:
        """All tables that are trained on, itself among them."""
        return self.others or (self,)

    def __len__(self) -> int:
        return len(self.rows)

    def has(self, name: str) -> bool:
        """Whether rows have something that an objective can do without."""
        return name in self.columns

    def values(self, name: str) -> list[Any]:
        """What the rows have there, of any type but null.

        Raises:
            WorkError: a row without the column, or with nothing in it; names the row.
        """
        return [self._value(number, row, name) for number, row in enumerate(self.rows)]

    def value(self, number: int, name: str) -> Any:
        """What one row has there; see `values`."""
        return self._value(number, self.rows[number], name)

    def texts(self, name: str) -> list[str]:
        """The same, of texts alone."""
        return [self._is(number, name, each, str) for number, each in enumerate(self.values(name))]

    def lists(self, name: str) -> list[list[Any]]:
        """The same, of lists alone."""
        return [self._is(number, name, each, list) for number, each in enumerate(self.values(name))]

    def text_lists(self, name: str) -> list[list[str]]:
        """The same, of lists of texts."""
        lists = self.lists(name)
        return [
            [self._is(number, name, text, str) for text in each]
            for number, each in enumerate(lists)
        ]

    def problem(self, number: int, what: str, fix: str | None = None) -> WorkError:
        """An error about a row, by its number in the table."""
        return WorkError(what, where=self.rows[number].where, fix=fix)

    def _value(self, number: int, row: Row, name: str) -> Any:
        column = self.columns[name]
        if column not in row.values:
            found = hint(column, row.values)
            fix = f"{found}; the key columns says which column is read"
            raise self.problem(number, f"the row has no {column!r}", fix)
        if row.values[column] is None:
            raise self.problem(number, f"there is nothing in {column!r}")
        return row.values[column]

    def _is(self, number: int, name: str, value: Any, wanted: type[T]) -> T:
        if isinstance(value, wanted):
            return value
        raise self.problem(
            number, f"{self.columns[name]!r} is not {kind(wanted())}, but {kind(value)}"
        )


def examples_of(spec: TrainSpec, make: Callable[[Table], Sequence[Example]]) -> Examples:
    """The examples that a spec's rows become, those to be trained on in a new order each epoch.

    Raises:
        UsageError, WorkError: as `read_rows`, also for a file without rows; and sources that say
            different things.
    """
    columns = [_columns_of(spec, source) for source in spec.sources]
    if spec.stream:
        train = mixed(spec, [_streamed(spec, *each, make) for each in _paired(spec, columns)])
        train.part(0)  # what the first rows say is known from here on
    else:
        train = mixed(spec, _shuffled(spec, columns, make))
    if spec.validation is None:
        return Examples(train, None)
    rows = read_rows(spec.validation, split=spec.validation_split)
    return Examples(train, make(Table(rows, columns_of(spec.objective, spec.columns))))


def _paired(
    spec: TrainSpec, columns: Sequence[dict[str, str]]
) -> Iterator[tuple[DataSource, dict[str, str]]]:
    return zip(spec.sources, columns, strict=True)


def _columns_of(spec: TrainSpec, source: DataSource) -> dict[str, str]:
    """What an objective takes of a source's rows, which is the same of every source."""
    first, own = (
        columns_of(spec.objective, spec.of(each).columns) for each in (spec.sources[0], source)
    )
    if own.keys() != first.keys():
        raise UsageError(
            f"it has {', '.join(own)}, and the first source {', '.join(first)}",
            where=f"{source.key}.columns",
            fix="name the same ones for every source",
        )
    return own


def _shuffled(
    spec: TrainSpec, columns: Sequence[dict[str, str]], make: Callable[[Table], Sequence[Example]]
) -> list[Source[Example]]:
    tables = [
        Table(read_rows(source.path, split=spec.of(source).split), each)
        for source, each in _paired(spec, columns)
    ]
    if len(tables) > 1:
        tables = [Table(each.rows, each.columns, tables) for each in tables]
    return [
        Shuffled(make(table), seed_of(spec, source))
        for source, table in zip(spec.sources, tables, strict=True)
    ]


def _streamed(
    spec: TrainSpec,
    source: DataSource,
    columns: dict[str, str],
    make: Callable[[Table], Sequence[Example]],
) -> Streamed:
    def examples(rows: list[Row], number: int) -> Sequence[Example]:
        return make(Table(rows, columns, more=True))

    files = row_shards(source.path, spec.of(source).split)
    return Streamed(files, spec.stream_buffer, seed_of(spec, source), examples)


def say_cut(console: Console, cut: int, rows: int, key: str, length: int) -> None:
    """Say aloud that rows are longer than a key allows, and lose their ends."""
    if cut:
        console.warn(f"{cut:,} of {rows:,} rows are longer than {key} ({length:,}) and are cut")
