"""Files of rows, each row made when it is asked for: what is in memory is where each begins.

A row of a .jsonl, .json or .csv file is a piece of its bytes. Rows of .arrow files are read from a
map of the file; those of .parquet files are unpacked once into such a file without a name.
"""

from __future__ import annotations

import csv
import json
import re
import tempfile
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from tfcli.checkpoints.io.opened import OpenedFile
from tfcli.checkpoints.io.snapshot import is_source
from tfcli.checkpoints.strict_json import kind
from tfcli.data.arrow import pyarrow_for
from tfcli.data.documents import MARK, read_text
from tfcli.data.tables import cells_of_any_size, check_room
from tfcli.errors import WorkError
from tfcli.limits import MAX_TABLE, MAX_TABLE_GROWTH

_PIECE = 4 << 20  # bytes that are read at once
_ROWS = 256  # of a table that are made together
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")  # of UTF-16 and UTF-32
_BLANKS = re.compile(r"\s*")


class RowFile(Protocol):
    """The rows of one file.

    Attributes:
        folder: from which paths in its rows lead on.
    """

    folder: Path

    def __len__(self) -> int: ...

    def values(self, number: int) -> dict[str, Any]:
        """Column -> what a row has there. Rows are counted from 0.

        Raises:
            WorkError: it is no such row; names it.
        """
        ...

    def where(self, number: int) -> str:
        """What to call a row in errors."""
        ...


class _Source(Protocol):
    size: int

    def bytes(self, start: int, count: int) -> bytes: ...


class _Held:
    """Bytes in memory, with the methods of a file: what came through a pipe, or in UTF-16."""

    def __init__(self, data: bytes) -> None:
        self._data, self.size = data, len(data)

    def reading(self) -> AbstractContextManager[_Held]:
        return nullcontext(self)

    def bytes(self, start: int, count: int) -> bytes:
        return self._data[start : start + count]


class _Pieces(ABC):
    """Rows that are pieces of a file's bytes, UTF-8."""

    def __init__(self, path: Path, most: int | None = None) -> None:
        self.path, self.folder, self.most = path, path.parent, most
        self.file = _open(path)
        self.starts, self.sizes, self.numbers = array("q"), array("q"), array("q")
        with self.file.reading() as source:
            self.index(source)

    @abstractmethod
    def index(self, source: _Source) -> None:
        """Find where the rows are, and call `add` for each until there are `most`."""

    def parse(self, text: str, where: str) -> Any:
        """The values of a row."""
        return parsed(text, where)

    def add(self, start: int, size: int, number: int) -> None:
        """Note a row: its place, its bytes, and its number or that of its first line."""
        self.starts.append(start)
        self.sizes.append(size)
        self.numbers.append(number)

    @property
    def full(self) -> bool:
        """Whether no further rows are asked for."""
        return len(self.starts) == self.most

    def __len__(self) -> int:
        return len(self.starts)

    def values(self, number: int) -> dict[str, Any]:
        where = self.where(number)
        with self.file.reading() as source:
            data = source.bytes(self.starts[number], self.sizes[number])
        found = self.parse(decoded(data, where), where)
        if not isinstance(found, dict):
            raise WorkError(f"is no JSON object, but {kind(found)}", where=where)
        return found

    def where(self, number: int) -> str:
        return f"{self.path}:{self.numbers[number]}"


class Lines(_Pieces):
    """A JSON object a line."""

    def index(self, source: _Source) -> None:
        for number, (start, line) in enumerate(_lines(source), 1):
            if line.removeprefix(MARK.encode()).strip():
                self.add(start, len(line), number)
            if self.full:
                return


class Entries(_Pieces):
    """One JSON list of objects. Its text is in memory while the places of the entries are found."""

    def index(self, source: _Source) -> None:
        text = decoded(source.bytes(0, source.size), str(self.path))
        at = len(MARK) if text.startswith(MARK) else 0
        place = _Place(text, at, len(text[:at].encode()))
        place.to(_BLANKS.match(text, place.at).end())  # type: ignore[union-attr]
        if text[place.at : place.at + 1] != "[":
            found = parsed(text[at:], str(self.path))
            raise WorkError(f"is no list of objects, but {kind(found)}", where=str(self.path))
        mark, number = "[", 0
        while mark != "]":
            place.to(_BLANKS.match(text, place.at + 1).end())  # type: ignore[union-attr]
            if mark == "[" and text[place.at : place.at + 1] == "]":
                return
            number += 1
            begin = place.bytes
            place.to(self._end(text, place.at, number))
            self.add(begin, place.bytes - begin, number)
            if self.full:
                return
            place.to(_BLANKS.match(text, place.at).end())  # type: ignore[union-attr]
            mark = text[place.at : place.at + 1]
            if mark not in (",", "]") or not mark:
                raise WorkError(
                    "not JSON: an entry is followed by neither a comma nor the end of the list",
                    where=f"{self.path}: entry {number}",
                )

    def _end(self, text: str, at: int, number: int) -> int:
        try:
            return json.JSONDecoder().raw_decode(text, at)[1]
        except (ValueError, RecursionError) as error:
            raise WorkError(f"not JSON: {error}", where=f"{self.path}: entry {number}") from error

    def where(self, number: int) -> str:
        return f"{self.path}: entry {self.numbers[number]}"


class _Place:
    """A place in a text, in characters and in bytes of its UTF-8."""

    def __init__(self, text: str, at: int, bytes: int) -> None:
        self.text, self.at, self.bytes = text, at, bytes

    def to(self, at: int) -> None:
        self.bytes += len(self.text[self.at : at].encode())
        self.at = at


class Cells(_Pieces):
    """A .csv table with a header: column -> the text that stands there."""

    names: list[str]

    def index(self, source: _Source) -> None:
        place, lines = 0, 0

        def texts() -> Iterator[str]:
            nonlocal place, lines
            for start, line in _lines(source):
                place, lines = start + len(line), lines + 1
                text = decoded(line, f"{self.path}:{lines}")
                yield text.removeprefix(MARK) if lines == 1 else text

        rows = csv.reader(texts(), strict=True)
        with cells_of_any_size():
            try:
                self.names = next(rows, [])
                begin, first = place, lines + 1
                for row in rows:
                    if row and len(row) != len(self.names):
                        raise WorkError(
                            f"the row has {len(row)} columns, and the header has {len(self.names)}",
                            where=f"{self.path}:{first}",
                            fix="put quotes around a text with commas or line breaks",
                        )
                    if row:  # a blank line is no row
                        self.add(begin, place - begin, first)
                    if self.full:
                        return
                    begin, first = place, lines + 1
            except csv.Error as error:
                raise WorkError(
                    f"not readable as a table: {error}", where=f"{self.path}:{lines}"
                ) from error

    def parse(self, text: str, where: str) -> Any:
        with cells_of_any_size():
            (row,) = csv.reader([text], strict=True)
        return dict(zip(self.names, row, strict=True))


class Table:
    """An Arrow table, mapped; the rows around the last one that was asked for are in memory.

    Args:
        path: of the .arrow or .parquet file.
        most: how many rows are asked for; None: all.
    """

    def __init__(self, path: Path, most: int | None = None) -> None:
        pa = pyarrow_for(path)
        self.path, self.folder = path, path.parent
        self._first, self._made = 0, list[dict[str, Any]]()
        opened = OpenedFile(path)
        # What stays mapped is looked at before rows are made of it; an unpacked file is nobody's.
        self._file = opened if path.suffix.lower() == ".arrow" else None
        try:
            with opened.reading():
                unpacked = self._file is None
                self._table = _unpacked(path, most) if unpacked else _mapped(path, most)
        except (pa.ArrowException, OSError) as error:
            raise WorkError(f"not readable as a table: {error}", where=str(path)) from error

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def values(self, number: int) -> dict[str, Any]:
        if not self._first <= number < self._first + len(self._made):
            self._first = number // _ROWS * _ROWS
            with nullcontext() if self._file is None else self._file.reading():
                self._made = self._table.slice(self._first, _ROWS).to_pylist()
        return {
            name: without_nulls(value) for name, value in self._made[number - self._first].items()
        }

    def where(self, number: int) -> str:
        return f"{self.path}: row {number + 1}"


def open_rows(path: Path, most: int | None = None) -> RowFile:
    """The rows of a file of a kind that `READERS` has.

    Args:
        most: how many of the first rows are asked for; None: all.

    Raises:
        WorkError: a file that cannot be read, or is not of the kind that its name says.
    """
    if path.is_file():  # a pipe changes as it is read
        is_source([path])
    return READERS[path.suffix.lower()](path, most)


def parsed(text: str, where: str) -> Any:
    """The value of a JSON text.

    Raises:
        WorkError: it is none.
    """
    try:
        return json.loads(text.removeprefix(MARK))
    except (ValueError, RecursionError) as error:
        raise WorkError(f"not JSON: {error}", where=where) from error


def decoded(data: bytes, where: str) -> str:
    """The text of some bytes of a file.

    Raises:
        WorkError: they are no UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise WorkError(
            f"not UTF-8 text (byte {error.start} of the line or file)",
            where=where,
            fix="convert it to UTF-8: iconv -f WINDOWS-1252 -t UTF-8",
        ) from error


def _open(path: Path) -> OpenedFile | _Held:
    """A file whose bytes are UTF-8; what is none, or cannot be read twice, is read whole."""
    if path.is_file():
        file = OpenedFile(path)
        with file.reading() as source:
            if not source.bytes(0, 4).startswith(_WIDE_MARKS):
                return file
    return _Held(read_text(path).encode())


def _lines(source: _Source) -> Iterator[tuple[int, bytes]]:
    """Place and bytes of each line. Only "\\n" ends one: JSON may hold the other characters that
    splitlines() splits at."""
    start, rest = 0, b""
    for at in range(0, source.size, _PIECE):
        *whole, rest = (rest + source.bytes(at, _PIECE)).split(b"\n")
        for line in whole:
            yield start, line + b"\n"
            start += len(line) + 1
    if rest:
        yield start, rest


def _mapped(path: Path, most: int | None) -> Any:
    """The table of an Arrow file, as `datasets` saves them (a stream) or pyarrow (a file).

    All that is asked for is looked at once: a place that a hostile file names outside of itself
    would end the process later.
    """
    import pyarrow as pa

    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except pa.ArrowInvalid:
        table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
    table = table.slice(0, most)
    table.validate(full=True)
    return table


def _unpacked(path: Path, most: int | None) -> Any:
    """The table of a .parquet file, as a mapped Arrow file that has lost its name already."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    left = MAX_TABLE + MAX_TABLE_GROWTH * path.stat().st_size
    with tempfile.TemporaryDirectory(prefix="tfcli-rows-") as folder:
        unpacked = Path(folder) / "rows.arrow"
        with (
            pq.ParquetFile(path) as file,
            pa.OSFile(str(unpacked), "wb") as sink,
            pa.ipc.new_stream(sink, file.schema_arrow) as stream,
        ):
            for batch in file.iter_batches(batch_size=most or _ROWS):
                left -= batch.nbytes
                check_room(left, path)
                stream.write_batch(batch)
                if most is not None:
                    break
        return pa.ipc.open_stream(pa.memory_map(str(unpacked))).read_all()


def without_nulls(value: Any) -> Any:
    """A value without the keys that only other rows have: a table gives every mapping all keys."""
    if isinstance(value, dict):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [without_nulls(each) for each in value]
    return value


READERS: dict[str, type[Lines] | type[Entries] | type[Cells] | type[Table]] = {
    ".jsonl": Lines,
    ".json": Entries,
    ".csv": Cells,
    ".parquet": Table,
    ".arrow": Table,
}
"""Suffix -> what reads its rows."""
