"""What models still know of texts that they have read, so that none reads a beginning twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import UntypedStorage

from tfcli.models.cache import Cache
from tfcli.models.errors import ModelError
from tfcli.serve.prefix_files import PrefixFiles

LEAST = 16
"""Ids that are worth remembering; fewer are read as fast as they are found."""


@dataclass(eq=False)
class _Entry:
    """A text that was read: its ids, the adapter that it was read with, and where what was made of
    it is: in memory, in a file, or both."""

    ids: list[int]
    adapter: str | None
    cache: Cache | None = None
    file: Path | None = None


class Prefixes:
    """Caches of texts, those that were used last. It belongs to the engine's thread.

    Args:
        most_bytes: memory that they take together; copies share their pages, which count once.
        files: where they survive an end of the process; None: nowhere.
        empty: makes an empty cache of the model, for what a file holds.
    """

    def __init__(
        self, most_bytes: int, files: PrefixFiles | None, empty: Callable[[], Cache]
    ) -> None:
        self._most, self._files, self._empty = most_bytes, files, empty
        self._entries: list[_Entry] = []  # the one that was used last is last
        self.nbytes = 0
        self._uses: Counter[int] = Counter()  # how many caches hold a piece of memory, by address
        for kept in [] if files is None else files.kept():
            self._entries.append(_Entry(kept.ids, kept.adapter, file=kept.path))

    def find(self, ids: Sequence[int], adapter: str | None = None) -> Cache | None:
        """A cache of the longest known beginning of a text, which leaves one id to read at least.

        Returns:
            a cache of the caller's own; None where nothing is known
        """
        wanted = list(ids[:-1])
        lengths = [
            (_common(each.ids, wanted), each) for each in self._entries if each.adapter == adapter
        ]
        for length, entry in sorted(lengths, key=lambda pair: -pair[0]):
            if length < LEAST:
                return None
            cache = self._cropped(entry, length)
            if cache is not None:
                self._entries.remove(entry)
                self._entries.append(entry)
                return cache
        return None

    def keep(self, ids: Sequence[int], cache: Cache, adapter: str | None, *, file: bool) -> None:
        """Remember what was read.

        Args:
            ids: all that the cache holds.
            cache: of one text; it may go on.
            adapter: that the model had.
            file: also in a file, where there are files.
        """
        if len(ids) < LEAST:
            return
        new = list(ids)
        for each in self._entries:
            if each.adapter == adapter and each.cache is not None and each.ids == new:
                self._entries.remove(each)
                self._entries.append(each)
                if file:
                    self._write(each, each.cache)
                return
        entry = _Entry(new, adapter)
        self._hold(entry, cache.copy())
        for each in self._begun_by(entry):
            if file or each.file is None:  # a file stays until another one holds more
                self._drop(each)
        self._entries.append(entry)
        if file:
            self._write(entry, cache)
        self._make_room()

    def _write(self, entry: _Entry, cache: Cache) -> None:
        if self._files is not None and entry.file is None:
            entry.file = self._files.write(entry.ids, entry.adapter, cache.copy())

    def _cropped(self, entry: _Entry, length: int) -> Cache | None:
        """A copy that holds the first ids alone; None where the model's layers do not allow it."""
        if entry.cache is None:
            loaded = self._loaded(entry)
            if loaded is None:
                return None
            self._hold(entry, loaded)
            self._make_room(besides=entry)
        assert entry.cache is not None
        found = entry.cache.copy()
        if length < found.length:
            try:
                found.crop(length)
            except ModelError:  # a state, or a window that has gone on: another entry may serve
                return None
        return found

    def _loaded(self, entry: _Entry) -> Cache | None:
        assert self._files is not None and entry.file is not None, "it is somewhere"
        cache = self._empty()
        if self._files.read(entry.file, cache) and cache.length == len(entry.ids):
            return cache
        self._entries.remove(entry)
        return None

    def _begun_by(self, entry: _Entry) -> list[_Entry]:
        """Earlier entries that the new one can stand for."""
        found = []
        for each in self._entries:
            length = len(each.ids)
            if each.adapter != entry.adapter or length > len(entry.ids):
                continue
            if each.ids == entry.ids[:length] and self._cropped(entry, length) is not None:
                found.append(each)
        return found

    def _make_room(self, besides: _Entry | None = None) -> None:
        for each in list(self._entries):
            if self.nbytes <= self._most:
                return
            if each is not besides and each.cache is not None:
                self._let_go(each)
                if each.file is None:
                    self._entries.remove(each)

    def _hold(self, entry: _Entry, cache: Cache) -> None:
        entry.cache = cache
        for piece in _pieces(cache):
            self._uses[piece.data_ptr()] += 1
            if self._uses[piece.data_ptr()] == 1:
                self.nbytes += piece.nbytes()

    def _let_go(self, entry: _Entry) -> None:
        for piece in [] if entry.cache is None else _pieces(entry.cache):
            self._uses[piece.data_ptr()] -= 1
            if not self._uses[piece.data_ptr()]:
                del self._uses[piece.data_ptr()]
                self.nbytes -= piece.nbytes()
        entry.cache = None

    def _drop(self, entry: _Entry) -> None:
        self._let_go(entry)
        self._entries.remove(entry)
        if entry.file is not None and self._files is not None:
            self._files.delete(entry.file)


def _pieces(cache: Cache) -> Iterator[UntypedStorage]:
    """The memory of a cache, which others may share."""
    for store in cache.stores.values():
        for tensor in store.tensors():
            yield tensor.untyped_storage()


def _common(one: list[int], other: list[int]) -> int:
    """How many ids two texts begin with alike."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
