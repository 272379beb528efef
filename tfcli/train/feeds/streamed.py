"""Data that are read as training needs them: as many rows at once as a buffer holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from tfcli.console import Console
from tfcli.data.documents import text_shards
from tfcli.data.formats.format import text_of
from tfcli.data.row_streams import PIECE, Place, RowStream
from tfcli.data.rows import Row
from tfcli.data.shards import Shard
from tfcli.errors import WorkError
from tfcli.train.batch import Example, Reordered
from tfcli.train.feeds.feed import Source, derive_seed
from tfcli.train.spec import TrainSpec

MakePart = Callable[[list[Row], int], Sequence[Example]]
"""The rows of a buffer and the part's number -> the examples that they become."""


class Streamed(Source[Example]):
    """Examples of rows that are read as they come. A part is what the rows of a buffer become, in
    an order of its own; each epoch reads the files in another order.

    Every process reads all rows and makes all examples, so that each knows which ones are its own.

    Args:
        files: what is read.
        buffer: rows that are in memory at once.
        seed: of the orders.
        make: examples of rows.
    """

    def __init__(self, files: Sequence[Shard], buffer: int, seed: int, make: MakePart) -> None:
        self.buffer, self.seed, self.make = buffer, seed, make
        self.rows = RowStream(files, self._order)
        self._places = {0: Place()}
        self._made: tuple[int, Reordered] | None = None
        self._fruitful = 0  # the last epoch in which a row became an example

    @property
    def whole(self) -> bool:
        return False

    def part(self, number: int) -> Reordered:
        """The examples of a buffer in their order; none, where no row of it can be learned from.

        Raises:
            WorkError: there are no rows, or none that can be learned from.
        """
        if self._made is None or self._made[0] != number:
            rows, _ = self._read(number)
            examples = self.make(rows, number)
            random = np.random.default_rng(derive_seed(self.seed, "buffer", number))
            self._made = number, Reordered(examples, random.permutation(len(examples)))
            self._require_fruit(number, len(examples))
        return self._made[1]

    def seen(self, number: int) -> float:
        return self.rows.share(self._place(number))

    def state(self, number: int) -> Any:
        return asdict(self._place(number))

    def resume(self, number: int, state: Any) -> None:
        self._places = {number: Place(**state)}
        self._fruitful = self._places[number].epoch

    def _order(self, epoch: int) -> Sequence[int]:
        random = np.random.default_rng(derive_seed(self.seed, "files", epoch))
        found: list[int] = random.permutation(len(self.rows.files)).tolist()
        return found

    def _place(self, number: int) -> Place:
        """Where a part begins; those between it and the last known one are read for that."""
        known = max(each for each in self._places if each <= number)
        for each in range(known, number):
            self._read(each)
        return self._places[number]

    def _read(self, number: int) -> tuple[list[Row], Place]:
        """The rows of a part, and the place after them."""
        rows, after = self.rows.read(self._place(number), self.buffer)
        if not rows:  # the part before ended with the last row of an epoch
            rows, after = self.rows.read(after, self.buffer)
        if not rows:
            names = ", ".join(map(str, self.rows.files[:3]))
            raise WorkError("there are no rows in it", where=names)
        self._places[number + 1] = after
        return rows, after

    def _require_fruit(self, number: int, examples: int) -> None:
        epoch = self._place(number).epoch
        if examples:
            self._fruitful = epoch
        elif epoch > self._fruitful + 1:
            raise WorkError(
                "no row has a token to learn", where=str(self.rows.files[0]), fix="look at the rows"
            )


def streamed_texts(
    spec: TrainSpec, console: Console, make: Callable[[list[str], int], Sequence[Example]]
) -> Streamed:
    """Examples of the texts of one source.

    Args:
        spec: of the source.
        console: hears of files that are left out.
        make: the texts of a buffer and the part's number -> the examples that they become.
    """
    assert spec.data is not None, "it is the spec of one source"
    files = text_shards(spec.data, spec.split, console)

    def examples(rows: list[Row], number: int) -> Sequence[Example]:
        return make([text_in(row, spec.text_field) for row in rows], number)

    return Streamed(files, spec.stream_buffer, spec.seed, examples)


def text_in(row: Row, field: str) -> str:
    """The text of a row, or that of a piece of a text file.

    Raises:
        WorkError: there is none; names the row.
    """
    if row.values.keys() == {PIECE}:
        return str(row.values[PIECE])
    return text_of(row, field)
