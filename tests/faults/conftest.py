"""An old artifact, and a command that replaces it by a new one and meets a fault."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.faults.preload import Fault, build
from tests.warm import Ended, Warm, warm
from tfcli.recipe.place import COMPLETE, Place
from tfcli.recipe.record import is_intact, read_record


def data(home: Path, source: str) -> list[str]:
    """The cheapest command: one document in, one out."""
    return ["data", "--validation", "0", "--test", "0", str(home / f"{source}.txt")]


@dataclass(frozen=True)
class Scene:
    """A folder `out` that is made anew.

    Args:
        process: has loaded what the command needs.
        home: has the two sources, and what is made of each.
        work: the folder that `out` lies in, and nothing else.
    """

    process: Warm
    home: Path
    work: Path

    @property
    def place(self) -> Place:
        return Place(self.work / "out")

    def command(self, source: str = "new", *flags: str) -> list[str]:
        return [*data(self.home, source), str(self.place.output), *flags]

    def reset(self, *, old: bool = True) -> None:
        """Nothing but the old artifact, or not even that."""
        shutil.rmtree(self.work)
        self.work.mkdir()
        if old:
            shutil.copytree(self.home / "old", self.place.output)

    def run(self, *flags: str, source: str = "new", fault: Fault | None = None) -> Ended:
        bounds = {} if fault is None else {"fault": fault.as_job()}
        return self.process.run(*self.command(source, *flags), **bounds)

    def fault(self, at: int, **options: object) -> Fault:
        return Fault(f"{self.work}/", at, **options)  # type: ignore[arg-type]

    def holds(self, folder: Path) -> str | None:
        """Which artifact lies whole in a folder."""
        record = None if folder.is_symlink() else read_record(folder)
        if record is None or not is_intact(folder, record):
            return None
        text = (folder / "train.jsonl").read_text()
        return next(name for name in ("old", "new", "other") if f"{name} text" in text)

    def whole(self) -> dict[str, str]:
        """The artifacts that lie whole under a name of the output: name -> which."""
        places = (self.place.output, self.place.partial, self.place.old)
        return {path.name: which for path in places if (which := self.holds(path))}

    def waits_for_its_name(self) -> bool:
        return (self.place.partial / COMPLETE).exists()

    def left(self) -> list[str]:
        """What there is beside the output, and what is hidden in it."""
        beside = [path.name for path in self.work.iterdir() if path != self.place.output]
        return beside + [path.name for path in self.place.output.glob(".*")]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """In memory where that is to be had: thousands of runs flush all that they write."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        home = Path(folder)
        for name in ("old", "new", "other"):
            (home / f"{name}.txt").write_text(f"Some {name} text.\n\nIn two paragraphs.\n")
        yield home


def load(home: Path, library: Path) -> Iterator[Scene]:
    """A scene with a process of its own."""
    work = home / "work"
    work.mkdir(exist_ok=True)
    with warm(home, preload=library) as process:
        for name in ("old", "new", "other"):
            assert process.load(*data(home, name), str(home / name)).code == 0
        yield Scene(process, home, work)


@pytest.fixture(scope="module")
def scene(home: Path, library: Path) -> Iterator[Scene]:
    yield from load(home, library)
