"""What an input consists of: its files, what they were when the step began, and their hash."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from tfcli.digest_cache import Identity, identity_of
from tfcli.errors import WorkError
from tfcli.files import UNREAD, read_digest
from tfcli.recipe.record import RECORD, read_record
from tfcli.recipe.spec import Reads, Word

READ_ONCE = "read once"
"""Instead of a hash, for what cannot be read again."""
_STREAMS = ("/dev/stdin", "/dev/fd/", "/proc/")


@dataclass(frozen=True)
class Content:
    """The files of an input, as they were found.

    Args:
        list_files: finds them again.
        files: what a file is called in the hash -> the file. The input itself has the empty name.
        found: the same names -> what the files were.
    """

    list_files: Callable[[], dict[str, Path]]
    files: dict[str, Path]
    found: dict[str, Identity]

    @property
    def is_here(self) -> bool:
        """Whether it was on this machine when it was looked at."""
        return True

    def again(self) -> Self:
        """The same input, as it is now."""
        now = observe(self.list_files)
        return replace(self, files=now.files, found=now.found)

    def table(self, *, anew: bool = False) -> dict[str, str]:
        """The SHA-256 of each file by its name.

        Args:
            anew: read the files, also those that this machine has hashed before.

        Raises:
            WorkError: one is not any more what it was when the input was looked at.
        """
        table = {}
        for name, path in self.files.items():
            try:
                identity, table[name] = read_digest(path, anew=anew)
            except FileNotFoundError:
                raise has_changed(path) from None
            if identity.stamp != self.found[name].stamp:
                raise has_changed(path)
        return table

    def digest(self, *, anew: bool = False) -> str:
        """What stands for the input: the SHA-256 of the file where it is one alone, otherwise that
        of the names and hashes of all files.

        Args:
            anew: as of `table`.

        Raises:
            WorkError: as `table`.
        """
        return table_digest(self.table(anew=anew))

    def differing(self, now: Content) -> list[Path]:
        """The files that are not what they were, are there no longer, or are there now."""
        names = {**self.files, **now.files}
        return [path for name, path in names.items() if self.found.get(name) != now.found.get(name)]


def table_digest(table: Mapping[str, str]) -> str:
    """The SHA-256 over names and hashes; that of the input's own file where it is all there is."""
    if table.keys() == {""}:
        return table[""]
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


def has_changed(path: Path) -> WorkError:
    """The error for an input that is not what it was when the step began."""
    return WorkError(
        "was changed while the step was reading its inputs: what it would make is of neither "
        "content for certain",
        where=str(path),
        fix="run it again when nothing writes to its inputs",
    )


def is_stream(path: Path) -> bool:
    """Whether a path can be read only once: a pipe, a device, standard input."""
    mode = path.stat().st_mode
    absolute = os.path.abspath(path)  # noqa: PTH100 - links of /dev/stdin tell nothing
    return absolute.startswith(_STREAMS) or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def look(path: Path, reads: Collection[Reads]) -> Content:
    """Find the files of an input. Nothing of them is read.

    Args:
        path: a file or a folder.
        reads: how it is read; as several things if there are several.
    """
    kinds = frozenset(reads)
    return observe(lambda: _files(path, kinds))


def observe(list_files: Callable[[], dict[str, Path]]) -> Content:
    """The files that are found, and what they are now."""
    files, found = list_files(), {}
    for name, file in files.items():
        with suppress(FileNotFoundError):  # deleted meanwhile: not there
            found[name] = identity_of(file.stat())
    return Content(list_files, {name: files[name] for name in found}, found)


def _files(path: Path, reads: Collection[Reads]) -> dict[str, Path]:
    files = dict(_below(path)) if path.is_dir() else {"": path}
    if path.is_dir() and "run" not in reads and read_record(path) is not None:
        # What made a folder is no part of what it holds: made again, it is the same.
        del files[RECORD]
    outside = {file.resolve(): file for file in _outside(path, reads)}
    outside.pop(path.resolve(), None)
    return files | {f"../{n}/{file.name}": file for n, file in enumerate(outside.values())}


def look_at_word(word: Word) -> Content:
    """Find the file of text that comes with Python."""
    found = find_spec(word.module)
    if found is None or found.origin is None:
        raise WorkError(f"this Python has no {word.module}", where=word.name)
    return look(Path(found.origin), {"file"})


def digest_input(path: Path, reads: Reads) -> str:
    """What a step that reads a path records for it.

    Raises:
        WorkError: it is written to meanwhile.
    """
    return READ_ONCE if is_stream(path) else look(path, {reads}).digest()


def _outside(path: Path, reads: Collection[Reads]) -> Iterator[Path]:
    if "model" in reads:
        from tfcli.checkpoints.reads import outside_of_model

        yield from outside_of_model(path)
    if "tokenizer" in reads:
        from tfcli.checkpoints.reads import outside_of_tokenizer

        yield from outside_of_tokenizer(path)
    if "code" in reads:
        from tfcli.families import modules_beside

        yield from modules_beside(path)
    if "task" in reads:
        from tfcli.evaluate.tasks.file import files_of_task

        yield from files_of_task(path)


def _below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file in a folder, hidden ones and those of linked folders too.

    A folder that links lead to several times counts once, and one that may not be listed is empty,
    as it is for whoever reads it.
    """
    seen = set()
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        at = place.stat()
        if (at.st_dev, at.st_ino) in seen:
            continue
        seen.add((at.st_dev, at.st_ino))
        try:
            entries = sorted(place.iterdir())
        except PermissionError:
            continue
        for entry in entries:
            if entry.name in UNREAD:
                continue
            if entry.is_dir():
                waiting.append(entry)
            elif entry.is_file():  # a pipe or a device has no end, a link may lead nowhere
                yield entry.relative_to(folder).as_posix(), entry
