"""The files that a stream reads: those here, and those on the hub until they are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tfcli.checkpoints.io.opened import OpenedFile
from tfcli.data.hub_data import HubData
from tfcli.data.layout import DataPlace


class Shard(Protocol):
    """A file of a stream.

    Attributes:
        path: its name, by which its kind is known; it is here once `opened` was called.
        size: in bytes.
    """

    path: Path
    size: int

    def opened(self) -> OpenedFile:
        """The file, the same one each time.

        Raises:
            WorkError: it cannot be read, or be fetched.
        """
        ...


class ShardHere:
    """A file on this machine. It must stay from the start on what it is then."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened = OpenedFile(path)
        self.size = self._opened.size

    def opened(self) -> OpenedFile:
        return self._opened


class ShardOnHub:
    """A file of a data set on the hub, which is fetched when it is read.

    Args:
        data: the data set.
        name: of the file in it.
        size: in bytes.
    """

    def __init__(self, data: HubData, name: Path, size: int) -> None:
        self._data, self._name = data, name
        self.path, self.size = data.shards / name, size
        self._opened: OpenedFile | None = None

    def opened(self) -> OpenedFile:
        if self._opened is None:
            self.path = self._data.shard(self._name, self.size)
            self._opened = OpenedFile(self.path)
        return self._opened


def shards_of(place: DataPlace, names: Sequence[Path]) -> Sequence[Shard]:
    """The files of a place by their names in it; of those on the hub only the sizes are asked for.

    Raises:
        WorkError: a file that cannot be read, or the hub cannot be reached.
    """
    if place.hub is None:
        return [ShardHere(place.path / name) for name in names]
    sizes = place.hub.sizes()
    return [ShardOnHub(place.hub, name, sizes[name.as_posix()]) for name in names]
