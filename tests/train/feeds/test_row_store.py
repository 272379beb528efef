"""Tokenized rows in the user's cache: made once, whole or not at all."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tfcli.data.supervised import Tokens
from tfcli.train.feeds import row_store as module
from tfcli.train.feeds.row_store import Counts, Made, RowStore, row_store


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "tfcli" / "rows"


def made(count=3, seen=None, first=0):
    for number in range(count):
        if seen is not None:
            seen.append(number)
        ids = list(range(first, first + number + 1))
        yield Made(Tokens(ids, [id % 2 for id in ids]), number, 7 * number, number == 1, number > 0)


def content(store: RowStore):
    parts = (store.ids, store.learned, store.starts, store.keys, store.rows)
    return [part.tolist() for part in parts]


EXPECTED = [[0, 0, 1, 0, 1, 2], [0, 0, 1, 0, 1, 0], [0, 1, 3, 6], [0, 7, 14], [0, 1, 2]]


def test_samples_are_stored_one_after_the_other_and_counted():
    store = row_store("a", made())
    assert content(store) == EXPECTED
    assert store.counts == Counts(samples=3, turns=1, endless=1) and len(store) == 3


def test_they_are_mapped_and_made_once():
    row_store("a", made())
    seen: list[int] = []
    store = row_store("a", made(seen=seen))
    assert (seen, content(store)) == ([], EXPECTED)
    assert isinstance(store.ids, np.memmap)
    assert content(row_store("b", made(seen=seen))) == EXPECTED and seen


def test_parts_that_are_written_one_after_the_other_are_one_store(monkeypatch):
    monkeypatch.setattr(module, "_TOGETHER", 2)
    assert content(row_store("a", made())) == EXPECTED


def test_no_samples_are_a_store_too():
    assert content(row_store("a", made(0))) == [[], [], [0], [], []]


def test_one_that_fails_leaves_nothing(cache):
    def broken():
        yield from made()
        raise RuntimeError("the third line is no JSON")

    with pytest.raises(RuntimeError):
        row_store("a", broken())
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


@pytest.mark.parametrize("name", ["ids", "learned", "starts", "keys", "rows", "counts.json"])
def test_a_store_that_is_not_whole_is_made_anew(cache, name):
    row_store("a", made())
    (file,) = cache.glob(f"*/{name}")
    file.write_bytes(file.read_bytes()[:-8])
    assert content(row_store("a", made())) == EXPECTED


def test_what_a_process_left_that_died_goes(cache):
    row_store("a", made())
    (store,) = (path for path in cache.iterdir() if path.is_dir())
    store.rename(cache / f".{store.name[:16]}-x")
    row_store("a", made())
    assert sorted(path.name for path in cache.iterdir()) == sorted(
        [store.name, f"{store.name}.lock"]
    )


def test_who_comes_meanwhile_waits():
    seen: list[int] = []

    def slow():
        for each in made(seen=seen):
            time.sleep(0.05)
            yield each

    threads = [threading.Thread(target=row_store, args=("a", slow())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [0, 1, 2]


def test_the_stores_that_were_not_used_for_longest_go(cache, monkeypatch):
    for name in "abc":
        row_store(name, made())
        time.sleep(0.01)
    row_store("a", made())
    size = sum(file.stat().st_size for file in next(cache.glob("*/ids")).parent.iterdir())
    monkeypatch.setattr(module, "MAX_BYTES", 2 * size)
    row_store("c", made())
    seen: list[int] = []
    row_store("a", made(seen=seen))
    row_store("c", made(seen=seen))
    assert not seen and len(list(cache.glob("*/ids"))) == 2


def test_a_folder_that_others_write_into_is_not_used(cache):
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    assert content(row_store("a", made())) == EXPECTED
    assert not list(cache.iterdir())
