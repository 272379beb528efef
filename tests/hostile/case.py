"""What a hostile checkpoint is: where it lies, who must refuse it, and what the error must name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

INSPECT, CONVERT = "inspect", "convert"
BOTH = (INSPECT, CONVERT)


@dataclass(frozen=True)
class Case:
    """One checkpoint.

    Args:
        name: of the case; its folder's too.
        path: to give to a command, below the corpus.
        file: the file that the error must name.
        says: the field, or what else the error must say of it.
        by: the commands that must refuse it; another one may do with it what it likes, but for
            side effects and within the bounds.
        arguments: further ones of `convert`.
    """

    name: str
    path: str
    file: str
    says: str
    by: tuple[str, ...] = BOTH
    arguments: tuple[str, ...] = ()


@dataclass
class Corpus:
    """The cases that were made, and where.

    Args:
        folder: holds one folder for each case.
        command: a shell command that leaves a trace, for files that can carry code.
        good: undamaged checkpoints by name, which every command must take; what is hostile
            differs from one of them in one thing.
    """

    folder: Path
    command: str
    cases: list[Case] = field(default_factory=list)
    good: dict[str, Path] = field(default_factory=dict)

    def add(
        self,
        name: str,
        file: str,
        says: str,
        content: Mapping[str, bytes] | None = None,
        *,
        by: tuple[str, ...] = BOTH,
        arguments: tuple[str, ...] = (),
        path: str = "",
    ) -> Path:
        """A case in a folder of its own.

        Args:
            content: files to put there, by name.
            path: what to give to the command, below the folder; empty for the folder itself.

        Returns:
            The folder.
        """
        place = re.sub(r"[^a-z0-9]+", "-", name.lower())
        folder = self.folder / place
        folder.mkdir(parents=True)
        self.cases.append(Case(name, str(Path(place, path)), file, says, by, arguments))
        put(folder, content or {})
        return folder

    def keep(self, name: str, content: Mapping[str, bytes]) -> Path:
        """An undamaged checkpoint."""
        folder = self.folder.parent / "good" / name
        folder.mkdir(parents=True)
        put(folder, content)
        self.good[name] = folder
        return folder


def put(folder: Path, content: Mapping[str, bytes]) -> None:
    """Write files by their names below a folder."""
    for name, data in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def files_of(folder: Path) -> dict[str, bytes]:
    """The content of a small folder, as `Corpus.add` takes it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def sparse(path: Path, size: int, head: bytes = b"") -> None:
    """A file of `size` bytes that takes no room on the disk."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)
