"""Rows as token ids in files that are mapped: made once, shared by processes and by later runs.

A store is a folder of the user's cache, named by a hash of all that decides the ids. It is made
under another name and renamed when it is whole; who comes meanwhile waits for it. Stores that were
not used for longest are deleted when all together are larger than `MAX_BYTES`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from tfcli.data.supervised import Tokens
from tfcli.digest_cache import own_folder
from tfcli.files import sync_entry

VERSION = 2
"""Of what a store holds. Another one makes stores anew."""
MAX_BYTES = 32 << 30
"""Of all stores together."""
_TOGETHER = 1 << 20  # ids that are written at once


@dataclass(frozen=True)
class Made:
    """One sample to be stored.

    Args:
        tokens: its ids.
        row: the number of its row.
        key: a number that equal rows share.
        turn: it is a turn of a conversation that became several samples.
        ends: its last learned id is a special token.
    """

    tokens: Tokens
    row: int
    key: int
    turn: bool
    ends: bool


@dataclass(frozen=True)
class Counts:
    """What was seen while samples were made.

    Args:
        samples: all of them.
        turns: those that are a turn of a conversation.
        endless: those that end without a special token.
    """

    samples: int
    turns: int
    endless: int


@dataclass(frozen=True)
class RowStore:
    """Samples, mapped.

    Args:
        ids (ndarray): [t] int32, those of all samples, one after the other.
        learned (ndarray): [t] uint8, 1 for an id that is to be learned.
        starts (ndarray): [n + 1] int64, where each sample begins, and the end.
        keys (ndarray): [n] int64, equal for samples of equal rows.
        rows (ndarray): [n] int64, the number of the row that each is from.
        media (ndarray): [n] int64, how many media of its row each has, the first ones.
        through (ndarray): [n] int64, how many of its first ids end with the last of these.
        counts: what was seen while they were made.
    """

    ids: np.ndarray
    learned: np.ndarray
    starts: np.ndarray
    keys: np.ndarray
    rows: np.ndarray
    media: np.ndarray
    through: np.ndarray
    counts: Counts

    def __len__(self) -> int:
        return len(self.keys)


def row_store(identity: Any, make: Iterable[Made]) -> RowStore:
    """The store of some samples: the one that was made before, or a new one.

    Args:
        identity: all that decides the samples, in plain types.
        make: the samples, in order; looked at only where there is no store yet.

    Raises:
        OSError: the disk is full.
    """
    name = hashlib.sha256(json.dumps([VERSION, identity], sort_keys=True).encode()).hexdigest()
    cache = own_folder()
    if cache is None or not _is_usable(cache / "rows"):
        with tempfile.TemporaryDirectory(prefix="tfcli-rows-") as folder:
            _write(Path(folder), make)
            return _opened(Path(folder))  # the maps outlive the names
    stores = cache / "rows"
    with _alone(stores / f"{name}.lock"):
        found = stores / name
        if not _is_whole(found):
            _make(found, make)
        os.utime(found)
        store = _opened(found)
    _forget_oldest(stores, found)
    return store


def held_store(make: Iterable[Made]) -> RowStore:
    """The same in memory, of samples that are few."""
    made = list(make)
    ends = [0, *accumulate(len(each.tokens.ids) for each in made)]
    counts = Counts(len(made), sum(e.turn for e in made), sum(not e.ends for e in made))
    return RowStore(
        np.array([id for each in made for id in each.tokens.ids], np.int32),
        np.array([one for each in made for one in each.tokens.learned], np.uint8),
        np.array(ends, np.int64),
        np.array([each.key for each in made], np.int64),
        np.array([each.row for each in made], np.int64),
        np.array([each.tokens.media for each in made], np.int64),
        np.array([each.tokens.through for each in made], np.int64),
        counts,
    )


def _make(folder: Path, make: Iterable[Made]) -> None:
    """Write a store under another name and give it its own when it is whole."""
    prefix = f".{folder.name[:16]}-"
    for left in [folder, *folder.parent.glob(f"{prefix}*")]:  # by a process that died
        shutil.rmtree(left, ignore_errors=True)
    staged = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        _write(staged, make)
        staged.rename(folder)
    except BaseException as error:
        shutil.rmtree(staged, ignore_errors=True)
        # Without locks another process may have made the same meanwhile.
        if not isinstance(error, OSError) or not _is_whole(folder):
            raise


def _is_whole(folder: Path) -> bool:
    """Whether a store is there, and its files are as long as they should be."""
    try:
        store = _opened(folder)
    except (OSError, ValueError, TypeError):
        return False
    samples = store.counts.samples
    of_samples = (store.keys, store.rows, store.media, store.through)
    sizes = {*map(len, of_samples), len(store.starts) - 1}
    end = int(store.starts[-1]) if len(store.starts) else -1
    return sizes == {samples} and (len(store.ids), len(store.learned)) == (end, end)


def _write(folder: Path, make: Iterable[Made]) -> None:
    """Write the files of a store; the last one says that all are there."""
    starts, turns, endless = array("q", [0]), 0, 0
    keys, rows, media, through = array("q"), array("q"), array("q"), array("q")
    with (folder / "ids").open("wb") as ids, (folder / "learned").open("wb") as learned:
        for part in _in_parts(make):
            for each in part:
                starts.append(starts[-1] + len(each.tokens.ids))
                keys.append(each.key)
                rows.append(each.row)
                media.append(each.tokens.media)
                through.append(each.tokens.through)
                turns, endless = turns + each.turn, endless + (not each.ends)
            for file, name, dtype in ((ids, "ids", np.int32), (learned, "learned", np.uint8)):
                values = [np.array(getattr(each.tokens, name), dtype) for each in part]
                np.concatenate(values).tofile(file)
    of_samples = {"starts": starts, "keys": keys, "rows": rows, "media": media, "through": through}
    for name, numbers in of_samples.items():
        (folder / name).write_bytes(numbers.tobytes())
    for name in ("ids", "learned", *of_samples):
        sync_entry(folder / name)
    counts = Counts(len(keys), turns, endless)
    (folder / "counts.json").write_text(json.dumps(asdict(counts)))


def _in_parts(make: Iterable[Made]) -> Iterator[list[Made]]:
    part: list[Made] = []
    size = 0
    for each in make:
        part.append(each)
        size += len(each.tokens.ids)
        if size >= _TOGETHER:
            yield part
            part, size = [], 0
    if part:
        yield part


def _opened(folder: Path) -> RowStore:
    def mapped(name: str, dtype: type) -> np.ndarray:
        path = folder / name
        if not path.stat().st_size:  # nothing cannot be mapped
            return np.zeros(0, dtype)
        return np.memmap(path, dtype, mode="r")

    return RowStore(
        mapped("ids", np.int32),
        mapped("learned", np.uint8),
        mapped("starts", np.int64),
        mapped("keys", np.int64),
        mapped("rows", np.int64),
        mapped("media", np.int64),
        mapped("through", np.int64),
        Counts(**json.loads((folder / "counts.json").read_text())),
    )


def _is_usable(folder: Path) -> bool:
    """Whether a folder is there, or can be made, that nobody else writes into."""
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        return found.st_uid == os.geteuid() and not found.st_mode & 0o022
    return False


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one process of this machine at a time make a store; the others wait."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with suppress(OSError):  # a file system without locks: the same is made twice
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _forget_oldest(stores: Path, kept: Path) -> None:
    """Delete the stores that were not used for longest, until the others fit."""
    with suppress(OSError):
        found = sorted(
            (each for each in stores.iterdir() if (each / "counts.json").exists()),
            key=lambda each: each.stat().st_mtime,
            reverse=True,
        )
        left = MAX_BYTES
        for each in found:
            left -= sum(file.stat().st_size for file in each.iterdir())
            if left < 0 and each != kept:
                shutil.rmtree(each, ignore_errors=True)
