"""Rows of files larger than memory: read from a place on, and no more of them than asked for.

A place is a few numbers, so that a reader can go on where another one was. Nothing is looked at
before it is read, and nothing is kept behind.
"""

from __future__ import annotations

import bisect
import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

from tfcli.checkpoints.io.opened import OpenedFile
from tfcli.checkpoints.strict_json import kind
from tfcli.data.arrow import pyarrow_for
from tfcli.data.documents import MARK
from tfcli.data.row_files import decoded, parsed, without_nulls
from tfcli.data.rows import Row
from tfcli.data.shards import Shard
from tfcli.data.tables import cells_of_any_size, check_room
from tfcli.errors import UsageError, WorkError
from tfcli.limits import MAX_TABLE, MAX_TABLE_GROWTH

_PIECE = 4 << 20  # bytes that are read at once
_ROWS = 256  # of a table that are made together
_TEXT = 1 << 20  # bytes of a piece of a text file, at least
PIECE = "\0text"
"""The column that pieces of text files stand in; no other file has one of that name."""


@dataclass(frozen=True)
class Place:
    """Where a reader goes on.

    Args:
        epoch: how often all files were read.
        file: how many were read since.
        at: bytes, or rows of a table, that were read of the next one.
        row: lines or rows of it that were read, for errors.
    """

    epoch: int = 0
    file: int = 0
    at: int = 0
    row: int = 0


Found = tuple[dict[str, Any], str, int, int]
"""Column -> value of a row, what to call it, and the `at` and `row` of the place after it."""


class RowStream:
    """The rows of some files, again and again.

    Args:
        files: in their order.
        order: epoch -> the places of the files in the order in which they are read.

    Raises:
        UsageError: a kind of file that cannot be read piece by piece.
    """

    def __init__(self, files: Sequence[Shard], order: Callable[[int], Sequence[int]]) -> None:
        for path in (each.path for each in files):
            if path.suffix.lower() not in STREAMS:
                raise UsageError(
                    f"files of the kind {path.suffix or path.name!r} are not read as they come",
                    where=str(path),
                    fix=f"give {', '.join(STREAMS)} files, or leave out stream",
                )
        self._files = files
        self._sizes = [each.size for each in files]
        self._order = order
        self._lengths: dict[int, int] = {}
        self._open: tuple[Place, Iterator[tuple[Row, Place]]] | None = None

    @property
    def files(self) -> list[Path]:
        """The files."""
        return [each.path for each in self._files]

    def read(self, place: Place, count: int) -> tuple[list[Row], Place]:
        """The next rows from a place on, and the place after them. At the end of an epoch there
        are fewer.

        Raises:
            WorkError: a broken row, or a file that was changed; names it.
        """
        if self._open is None or self._open[0] != place:
            self._open = place, self._rows(place)
        rows = self._open[1]
        found = list(islice(rows, count))
        if len(found) < count:
            self._open = None
            return [row for row, _ in found], Place(place.epoch + 1)
        after = found[-1][1]
        self._open = after, rows
        return [row for row, _ in found], after

    def share(self, place: Place) -> float:
        """How often the files were read at a place, as far as their bytes say."""
        order = self._order(place.epoch)
        done = float(sum(self._sizes[each] for each in order[: place.file]))
        if place.file < len(order):
            done += self._sizes[order[place.file]] * self._within(order[place.file], place.at)
        return place.epoch + done / max(1, sum(self._sizes))

    def _within(self, file: int, at: int) -> float:
        """The share of a file that was read at a place in it."""
        shard = self._files[file]
        count = STREAMS[shard.path.suffix.lower()].rows
        if at and file not in self._lengths:
            self._lengths[file] = shard.size if count is None else count(shard.opened().path)
        return at / self._lengths[file] if at else 0.0

    def _rows(self, place: Place) -> Iterator[tuple[Row, Place]]:
        order = self._order(place.epoch)
        at, row = place.at, place.row
        for number in range(place.file, len(order)):
            opened = self._files[order[number]].opened()
            path = opened.path
            read = STREAMS[path.suffix.lower()].read
            for values, where, after, last in read(opened, path, at, row):
                yield Row(values, where, path.parent), Place(place.epoch, number, after, last)
            at = row = 0


def _lines(opened: OpenedFile, at: int) -> Iterator[tuple[bytes, int]]:
    """Each line from a byte on, and the byte after it."""
    rest, begin = b"", at
    while begin < opened.size:
        with opened.reading() as source:
            piece = source.bytes(begin, min(_PIECE, opened.size - begin))
        begin += len(piece)
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            at += len(line) + 1
            yield line + b"\n", at
    if rest:
        yield rest, opened.size


def _json_lines(opened: OpenedFile, path: Path, at: int, row: int) -> Iterator[Found]:
    for line, after in _lines(opened, at):
        row += 1
        if not line.removeprefix(MARK.encode()).strip():
            continue
        where = f"{path}:{row}"
        found = parsed(decoded(line, where), where)
        if not isinstance(found, dict):
            raise WorkError(f"is no JSON object, but {kind(found)}", where=where)
        yield found, where, after, row


def _cells(opened: OpenedFile, path: Path, at: int, row: int) -> Iterator[Found]:
    """Rows of a .csv; `row` counts lines."""
    header = next(_lines(opened, 0), (b"", 0))
    with cells_of_any_size():
        names = next(csv.reader([decoded(header[0], f"{path}:1").removeprefix(MARK)]), [])
    if not at:
        at, row = header[1], 1
    place, line_number = at, row

    def texts() -> Iterator[str]:
        nonlocal place, line_number
        for line, after in _lines(opened, at):
            line_number += 1
            text = decoded(line, f"{path}:{line_number}")
            place = after
            yield text

    first = row + 1
    rows = csv.reader(texts(), strict=True)
    while True:
        try:
            with cells_of_any_size():
                cells = next(rows, None)
        except csv.Error as error:
            raise WorkError(
                f"not readable as a table: {error}", where=f"{path}:{line_number}"
            ) from error
        if cells is None:
            return
        if cells and len(cells) != len(names):
            raise WorkError(
                f"the row has {len(cells)} columns, and the header has {len(names)}",
                where=f"{path}:{first}",
                fix="put quotes around a text with commas or line breaks",
            )
        if cells:  # a blank line is no row
            values: dict[str, Any] = dict(zip(names, cells, strict=True))
            yield values, f"{path}:{first}", place, line_number
        first = line_number + 1


def _table(
    read: Callable[[OpenedFile, Path, int], Iterator[Found]],
    opened: OpenedFile,
    path: Path,
    at: int,
    row: int,
) -> Iterator[Found]:
    """Rows of a file that pyarrow reads; their place is their number, and so is `row`."""
    pa = pyarrow_for(path)
    try:
        yield from read(opened, path, at)
    except (pa.ArrowException, OSError) as error:
        raise WorkError(f"not readable as a table: {error}", where=str(path)) from error


def _parquet(opened: OpenedFile, path: Path, at: int) -> Iterator[Found]:
    """Rows of a .parquet; those of a row group are unpacked a few at a time."""
    left = MAX_TABLE + MAX_TABLE_GROWTH * opened.size
    with opened.reading():
        file = pyarrow_for(path).parquet.ParquetFile(path)
    with file:
        sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
        ends = list(accumulate(sizes))
        group = bisect.bisect_right(ends, at)
        before = ends[group] - sizes[group] if group < len(ends) else at
        groups = list(range(group, len(ends)))
        batches = file.iter_batches(batch_size=_ROWS, row_groups=groups) if groups else iter(())
        while True:
            with opened.reading():
                batch = next(batches, None)
            if batch is None:
                return
            left -= batch.nbytes
            check_room(left, path)
            if before + batch.num_rows > at:
                yield from _table_rows(batch, path, before, at)
            before += batch.num_rows


def _arrow(opened: OpenedFile, path: Path, at: int) -> Iterator[Found]:
    """Rows of an .arrow file; a batch is in memory at a time."""
    batches, before = _batches(pyarrow_for(path), path), 0
    while True:
        with opened.reading():
            batch = next(batches, None)
        if batch is None:
            return
        if before + batch.num_rows > at:
            # A place that a hostile file names outside of itself would end the process.
            batch.validate(full=True)
            yield from _table_rows(batch, path, before, at)
        before += batch.num_rows


def _batches(pa: Any, path: Path) -> Iterator[Any]:
    """The batches of a file as pyarrow writes it, or of a stream as `datasets` saves it."""
    with pa.OSFile(str(path)) as source:
        try:
            reader = pa.ipc.open_file(source)
        except pa.ArrowInvalid:
            source.seek(0)
            yield from pa.ipc.open_stream(source)
            return
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)


def _table_rows(table: Any, path: Path, before: int, at: int) -> Iterator[Found]:
    """Rows of a part of a table from row `at` of the whole on; `before` rows stand before it."""
    for first in range(max(0, at - before), table.num_rows, _ROWS):
        for number, values in enumerate(table.slice(first, _ROWS).to_pylist(), before + first + 1):
            clean = {name: without_nulls(value) for name, value in values.items()}
            yield clean, f"{path}: row {number}", number, number


def _pieces(opened: OpenedFile, path: Path, at: int, row: int) -> Iterator[Found]:
    """A text file in pieces that end where a line does."""
    lines: list[bytes] = []
    size, after, first = 0, at, row + 1
    for line, after in _lines(opened, at):
        lines.append(line)
        size, row = size + len(line), row + 1
        if size >= _TEXT:
            yield _piece(lines, path, first), f"{path}:{first}", after, row
            lines, size, first = [], 0, row + 1
    if lines:
        yield _piece(lines, path, first), f"{path}:{first}", after, row


def _piece(lines: Sequence[bytes], path: Path, first: int) -> dict[str, Any]:
    text = decoded(b"".join(lines), f"{path}:{first}")
    return {PIECE: text.removeprefix(MARK) if first == 1 else text}


def _rows_of_parquet(path: Path) -> int:
    return int(pyarrow_for(path).parquet.read_metadata(path).num_rows)


def _rows_of_arrow(path: Path) -> int:
    return sum(batch.num_rows for batch in _batches(pyarrow_for(path), path))


@dataclass(frozen=True)
class _Kind:
    """How files of a kind are read.

    Args:
        read: the rows from a place on.
        rows: how many there are, where places count rows; None: places count bytes.
    """

    read: Callable[[OpenedFile, Path, int, int], Iterator[Found]]
    rows: Callable[[Path], int] | None = None


STREAMS = {
    ".jsonl": _Kind(_json_lines),
    ".csv": _Kind(_cells),
    ".parquet": _Kind(partial(_table, _parquet), _rows_of_parquet),
    ".arrow": _Kind(partial(_table, _arrow), _rows_of_arrow),
    **dict.fromkeys((".txt", ".md", ".rst"), _Kind(_pieces)),
}
"""Suffix -> how its rows are read as they come."""
