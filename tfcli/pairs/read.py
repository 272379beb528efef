"""Reading pairs: lines of two files, or rows of any data that tfcli reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tfcli.checkpoints.strict_json import kind
from tfcli.data.documents import read_text
from tfcli.data.layout import SPLITS, find_data
from tfcli.data.rows import Row, read_rows, row_files
from tfcli.errors import UsageError, WorkError, hint
from tfcli.pairs.spec import PairsSpec

SOURCE, TARGET = ".source", ".target"
_SHORT = {"val": "validation"}
"""Other names of splits, as the files of older examples have them."""


@dataclass(frozen=True)
class Pair:
    """One pair of texts, neither of them empty."""

    source: str
    target: str


def read_pairs(spec: PairsSpec) -> dict[str, list[Pair]]:
    """The pairs of each split.

    Raises:
        UsageError: nothing there, or a split that is not.
        WorkError: broken files, files of other lengths, or a pair without one of its texts; by its
            place.
    """
    place = find_data(spec.source).path
    if place.is_dir() and any(place.glob(f"*{SOURCE}")):
        return _of_lines(place, spec)
    if place.is_file():
        if spec.splits is not None:
            raise UsageError("a file has no splits", where="splits", fix="leave it out")
        return {place.stem: _of_rows(read_rows(spec.source), spec)}
    return {
        split: _of_rows(read_rows(spec.source, split=split), spec)
        for split in spec.splits or _splits_of_rows(spec.source)
    }


def _splits_of_rows(source: str) -> list[str]:
    """The splits that a folder has; where its files are named after none, all are train."""
    found: dict[str, list[Path]] = {}
    missing: UsageError | None = None
    for split in SPLITS:
        try:
            files = row_files(source, split)
        except UsageError as error:
            missing = missing or error
            continue
        if files not in found.values():
            found[split] = files
    if not found:
        assert missing is not None, "every split was looked for"
        raise missing
    return list(found)


def _of_lines(folder: Path, spec: PairsSpec) -> dict[str, list[Pair]]:
    there = {path.stem: path for path in sorted(folder.glob(f"*{SOURCE}"))}
    named = {_SHORT.get(name, name): path for name, path in there.items()}
    wanted = spec.splits or sorted(named, key=_order)
    for split in wanted:
        if split not in named:
            raise UsageError(
                f"the folder has no {split}{SOURCE}", where="splits", fix=hint(split, named)
            )
    return {split: _lines(named[split], spec.first) for split in wanted}


def _order(split: str) -> tuple[int, str]:
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)


def _lines(path: Path, first: int | None) -> list[Pair]:
    other = path.with_suffix(TARGET)
    if not other.is_file():
        raise WorkError(f"there is no {other.name} beside it", where=str(path))
    sources, targets = _texts(path), _texts(other)
    if len(sources) != len(targets):
        raise WorkError(
            f"{len(sources):,} lines, and {len(targets):,} in {other.name}: lines of the same "
            "number are a pair",
            where=str(path),
        )
    both = islice(zip(sources, targets, strict=True), first)
    return [
        _pair(source, target, f"{path}:{number}") for number, (source, target) in enumerate(both, 1)
    ]


def _texts(path: Path) -> list[str]:
    text = read_text(path)
    return [line.rstrip() for line in text.removesuffix("\n").split("\n")] if text else []


def _of_rows(rows: Sequence[Row], spec: PairsSpec) -> list[Pair]:
    return [
        _pair(_at(row, spec.source_column), _at(row, spec.target_column), row.where)
        for row in islice(rows, spec.first)
    ]


def _at(row: Row, column: str) -> str:
    """What a row has in a column; the column of the whole name counts before what is nested."""
    if column in row.values:
        return _as_text(row.values[column], column, row)
    value: Any = row.values
    for part in column.split("."):
        if not isinstance(value, Mapping) or part not in value:
            inside = list(value) if isinstance(value, Mapping) else []
            raise WorkError(
                f"the row has no {column!r}",
                where=row.where,
                fix=hint(part, inside) or "source_column and target_column say where the texts are",
            )
        value = value[part]
    return _as_text(value, column, row)


def _as_text(value: Any, column: str, row: Row) -> str:
    if isinstance(value, str):
        return value
    raise WorkError(f"{column!r} is not text, but {kind(value)}", where=row.where)


def _pair(source: str, target: str, where: str) -> Pair:
    for name, text in (("source", source), ("target", target)):
        if not text.strip():
            raise WorkError(
                f"the {name} of the pair is empty", where=where, fix="take the pair out of the data"
            )
    return Pair(source, target)
