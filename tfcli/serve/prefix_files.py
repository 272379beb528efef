"""Prefixes in files, which a server that is started again finds.

A file is a cache's (`models/caches/files.py`) with the ids and the adapter as notes. They hold what
users wrote, as numbers: nobody else may read the folder.
"""

from __future__ import annotations

import hashlib
import json
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from tfcli.models.cache import Cache
from tfcli.models.errors import ModelError

_SUFFIX = ".safetensors"
_WAITING = 4  # caches that wait for being written; more are not


@dataclass(frozen=True)
class Kept:
    """A file: what it holds, and where it is."""

    ids: list[int]
    adapter: str | None
    path: Path


class PrefixFiles:
    """Files of one model in a folder. A thread writes them, so that no answer waits for a disk.

    Args:
        folder: of this model alone, with its very weights.
        most_bytes: that files take together; the oldest are deleted.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder, self._most = folder, most_bytes
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for half in folder.glob("*.part"):  # of a process that was ended
            half.unlink(missing_ok=True)
        self._work: queue.Queue[tuple[Path, Cache, dict[str, str]] | None]
        self._work = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._write_all, name="prefixes", daemon=True)
        self._thread.start()

    def kept(self) -> list[Kept]:
        """All files, the one that was used last at the end; those that cannot be read are
        deleted."""
        found = []
        for path in self._by_age():
            try:
                with safe_open(path, "pt") as file:
                    notes = file.metadata() or {}
                ids, adapter = json.loads(notes["ids"]), json.loads(notes["adapter"])
            except (OSError, SafetensorError, KeyError, ValueError):
                self.delete(path)
                continue
            found.append(Kept(ids, adapter, path))
        return found

    def write(self, ids: Sequence[int], adapter: str | None, cache: Cache) -> Path | None:
        """Have a cache written, which nobody else changes.

        Returns:
            where it will be; None where the disk is behind
        """
        notes = {"ids": json.dumps(list(ids)), "adapter": json.dumps(adapter)}
        name = hashlib.sha256("\n".join(notes.values()).encode()).hexdigest()[:32]
        path = self._folder / f"{name}{_SUFFIX}"
        try:
            self._work.put_nowait((path, cache, notes))
        except queue.Full:
            return None
        return path

    def read(self, path: Path, cache: Cache) -> bool:
        """Take a file's content into an empty cache; False, and the file is gone, where it does not
        hold that."""
        try:
            cache.load(path)
        except (ModelError, OSError):
            self.delete(path)
            return False
        path.touch()
        return True

    def delete(self, path: Path) -> None:
        """Delete a file, which need not be there."""
        path.unlink(missing_ok=True)

    def close(self) -> None:
        """Write what waits, and end. A second time does nothing."""
        if self._thread.is_alive():
            self._work.put(None)
            self._thread.join()

    def _write_all(self) -> None:
        while (item := self._work.get()) is not None:
            path, cache, notes = item
            half = path.with_suffix(".part")
            try:
                cache.save(half, **notes)
                half.replace(path)
                self._make_room()
            except (OSError, ModelError, SafetensorError):
                # A full disk: what is not remembered is read again.
                half.unlink(missing_ok=True)
            del item, cache

    def _make_room(self) -> None:
        files = [(path, path.stat().st_size) for path in self._by_age()]
        size = sum(size for _, size in files)
        for path, each in files:
            if size <= self._most:
                return
            self.delete(path)
            size -= each

    def _by_age(self) -> list[Path]:
        files = self._folder.glob(f"*{_SUFFIX}")
        return sorted(files, key=lambda path: path.stat().st_mtime_ns)
