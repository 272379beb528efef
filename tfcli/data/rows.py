"""Rows of data files: one mapping a line, a row or an entry, with what to call it in errors."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

from tfcli.data.layout import DataPlace, files_of, find_data
from tfcli.data.picture_folders import PICTURES, Pictures
from tfcli.data.row_files import READERS, RowFile, open_rows
from tfcli.data.shards import Shard, ShardHere, shards_of
from tfcli.errors import UsageError, WorkError

_OF_DATASETS = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
"""What the `datasets` library and the hub have beside the rows of a folder."""


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        values: column -> what the row has there.
        where: file and line or row, for errors.
        folder: that its file is in, from which paths in the row lead on.
    """

    values: Mapping[str, Any]
    where: str
    folder: Path = Path()


class Rows(Sequence[Row]):
    """The rows of several files, one after the other. A row is read each time it is asked for.

    Args:
        files: the rows of each.
    """

    def __init__(self, files: Sequence[RowFile]) -> None:
        self._files = files
        self._ends = list(accumulate(map(len, files)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, number: int) -> Row: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Row]: ...
    def __getitem__(self, number: int | slice) -> Row | Sequence[Row]:
        """A row.

        Raises:
            WorkError: it is no JSON object, or its file was changed since it was opened.
        """
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        number = range(len(self))[number]
        which = bisect.bisect_right(self._ends, number)
        file = self._files[which]
        place = number - (self._ends[which] - len(file))
        return Row(file.values(place), file.where(place), file.folder)


def read_rows(path: Path | str, *, split: str = "train") -> Sequence[Row]:
    """The rows of a data file, or of a folder's files.

    Args:
        path: a .jsonl, .json (a list of objects), .csv, .parquet or .arrow file; a folder of
            such files, in the order of their names; one of pictures alone (`Pictures`); or what
            else `find_data` takes.
        split: of a folder where files or subfolders are named after train, validation or test
            (`train.jsonl`, `train-00000-of-00002.parquet`, `train/`): which of these to read.

    Returns:
        the rows, each made when it is asked for

    Raises:
        UsageError: nothing there, or a kind of file that has no rows.
        WorkError: a broken file, or no rows at all.
    """
    place = find_data(path)
    rows = Rows(_pictures(place, split) or [open_rows(each) for each in _row_files(place, split)])
    if not rows:
        raise WorkError("there are no rows in it", where=str(path))
    return rows


def first_row(path: Path | str, *, split: str = "train", streamed: bool = False) -> Row:
    """The first of the rows that `read_rows` gives, without looking at the others.

    Args:
        streamed: the others are read as they come, and their files are not fetched yet.

    Raises:
        UsageError, WorkError: as `read_rows`.
    """
    place = find_data(path)
    pictures = _pictures(place, split)
    if pictures:
        return Rows(pictures)[0]
    files: Iterable[Path] = (
        (each.opened().path for each in row_shards(path, split))
        if streamed
        else _row_files(place, split)
    )
    for file in files:
        found = open_rows(file, most=1)
        if len(found):
            return Rows([found])[0]
    raise WorkError("there are no rows in it", where=str(path))


def row_files(path: Path | str, split: str) -> list[Path]:
    """The files whose rows `read_rows` gives; a folder of pictures has none.

    Raises:
        UsageError: as `read_rows`.
        WorkError: a folder without such files.
    """
    return _row_files(find_data(path), split)


def row_shards(path: Path | str, split: str) -> Sequence[Shard]:
    """The same files for a stream: those on the hub are fetched when they are read.

    Raises:
        UsageError, WorkError: as `row_files`.
    """
    place = find_data(path)
    if not place.is_folder:
        return [ShardHere(each) for each in _row_files(place, split)]
    return shards_of(place, _row_names(place, split))


def _row_files(place: DataPlace, split: str) -> list[Path]:
    path = place.path
    if not place.is_folder:
        if path.suffix.lower() not in READERS:
            raise UsageError(
                f"files of the kind {path.suffix or path.name!r} have no rows",
                where=str(path),
                fix=f"give a {', '.join(READERS)} file, or a folder of them",
            )
        return [path]
    return place.take(_row_names(place, split))


def _row_names(place: DataPlace, split: str) -> list[Path]:
    """The files of rows of a folder, by their names in it."""
    inside = place.names()
    files = _files_with_rows(inside)
    if not files:
        raise WorkError(
            f"the folder holds no {', '.join(READERS)} file",
            where=str(place.path),
            fix="leave out stream: folders of pictures are looked at whole"
            if _images(inside)
            else None,
        )
    return files_of(files, split, place)


def _pictures(place: DataPlace, split: str) -> list[RowFile]:
    """The pictures of a folder that has no file with rows; nothing where there are none.

    Raises:
        UsageError: it has other splits than this one.
    """
    inside = place.names() if place.is_folder else []
    pictures = _images(inside)
    if not pictures or _files_with_rows(inside):
        return []
    return [Pictures(place.path, files_of(pictures, split, place))]


def _files_with_rows(files: Sequence[Path]) -> list[Path]:
    return [
        each for each in files if each.suffix.lower() in READERS and each.name not in _OF_DATASETS
    ]


def _images(files: Sequence[Path]) -> list[Path]:
    return [each for each in files if each.suffix.lower() in PICTURES]
