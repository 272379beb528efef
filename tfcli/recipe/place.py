"""An output and the two hidden folders beside it: what lies there, and whether tfcli made it.

An output that is a single file is made in a hidden folder, too; its record stays hidden beside it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import ConfigDict, StrictBool, TypeAdapter, ValidationError, with_config

from tfcli.checkpoints.strict_json import read_json
from tfcli.errors import UsageError, WorkError
from tfcli.files import write_json
from tfcli.recipe.record import (
    COMPLETE,
    RECORD,
    STAGED,
    RunRecord,
    is_intact,
    is_ours,
    read_record,
)
from tfcli.recipe.verbs import VERBS


@dataclass(frozen=True)
class Place:
    """An output and the two hidden folders beside it.

    Args:
        output: the folder, or the file.
        is_file: whether it is a file.
    """

    output: Path
    is_file: bool = False

    @classmethod
    def of(cls, target: str, *, is_file: bool = False) -> Place:
        """The place of an output as a user spells it."""
        path = Path(target)
        if path.name == "..":
            return cls(Path(os.path.realpath(path)), is_file)
        if ".." in path.parts:  # a path through the output itself breaks when that is renamed
            return cls(Path(os.path.realpath(path.parent), path.name), is_file)
        return cls(path, is_file)

    @property
    def partial(self) -> Path:
        """What is being made; after an exchange of names, what it replaces."""
        return self.output.with_name(f".{self.output.name}.partial")

    @property
    def made(self) -> Path:
        """Of an output that is a file: where it is made."""
        return self.partial / self.output.name

    @property
    def old(self) -> Path:
        """What is being replaced, where two names cannot be exchanged."""
        return self.output.with_name(f".{self.output.name}.old")


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class Mark:
    """What the hidden file of an unfinished folder says.

    Args:
        command: what makes it.
        key: of the step, where it can be gone on with.
        resumable: whether it can.
        replaces: the identity of the artifact that it may replace, see `identity`; None for none.
    """

    command: str
    key: str | None
    resumable: StrictBool
    replaces: str | None

    def write(self, folder: Path) -> None:
        """Mark a folder as one that is being made."""
        write_json(folder / STAGED, asdict(self))


_MARK = TypeAdapter(Mark)


def read_mark(folder: Path, name: str = STAGED) -> Mark | None:
    """The mark of a folder; None without one, and for one that a machine cut short as it went
    off."""
    if not (folder / name).is_file():
        return None
    try:
        mark = _MARK.validate_python(read_json(folder / name))
    except (WorkError, ValidationError):
        return None
    return mark if mark.command in VERBS else None


def completed(place: Place) -> RunRecord | None:
    """The record of a complete folder that has not got its name; None where there is none."""
    return None if read_mark(place.partial, COMPLETE) is None else read_record(place.partial)


def has_name(place: Place) -> bool:
    """Whether a file that is complete has its name already, and its record has not."""
    record = completed(place)
    if not place.is_file or record is None or place.made.exists():
        return False
    return place.output.is_file() and is_intact(place.output, record)


def identity(folder: Path) -> str | None:
    """What tells one artifact from any other: the hash of its record, which need not be one that
    can be read. None for no artifact."""
    if folder.is_symlink() or not (folder / RECORD).is_file():
        return None
    with (folder / RECORD).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replaced(place: Place) -> list[Path]:
    """The hidden folders with the artifact that the complete one replaces, or has replaced."""
    for complete in (place.output, place.partial):
        mark = read_mark(complete, COMPLETE)
        if mark is not None and mark.replaces is not None:
            beside = [path for path in (place.partial, place.old) if path != complete]
            return [path for path in beside if identity(path) == mark.replaces]
    return []


def refuse_foreign(place: Place) -> None:
    """Refuse an output whose folder, or one of those beside it, is not tfcli's to replace.

    Raises:
        UsageError: naming it.
    """
    output = place.output
    wrong_kind = output.is_dir() if place.is_file else not output.is_dir()
    if output.is_symlink() or (output.exists() and wrong_kind):
        kind = "a folder" if place.is_file else "not a folder"
        kind = "a link" if output.is_symlink() else kind
        raise UsageError(
            f"{output} is there and is {kind}",
            where="output",
            fix="choose another output; what is of another kind is never replaced",
            code="output.not_empty",
        )
    if place.is_file and output.exists() and not (is_ours(output) or has_name(place)):
        raise UsageError(
            f"{output} is not as tfcli wrote it, or it did not write it",
            where="output",
            fix="choose another output, or move the file elsewhere; it is never overwritten",
            code="output.not_empty",
        )
    if output.is_dir() and not is_ours(output) and any(output.iterdir()):
        raise UsageError(
            f"{output} holds files that tfcli did not make",
            where="output",
            fix="choose an empty or a new folder; it is never overwritten",
            code="output.not_empty",
        )
    for hidden in (place.partial, place.old):
        if _is_foreign(hidden, place):
            raise UsageError(
                f"{hidden} is in the way, and no interrupted run of this output left it there",
                where="output",
                fix="move it elsewhere, or choose another output",
                code="output.not_empty",
            )


def _is_foreign(hidden: Path, place: Place) -> bool:
    if hidden.is_symlink() or (hidden.exists() and not hidden.is_dir()):
        return True
    try:
        before = hidden.stat()
        names = {path.name for path in hidden.iterdir()}
        # The mark is the first file that is written, by way of a file of another name, and the last
        # that is deleted.
        begun = all(name.startswith(f".{STAGED}.") for name in names)
        if begun or not names.isdisjoint((STAGED, COMPLETE)) or hidden in replaced(place):
            return False
        # Another process may have finished with it since it was looked at.
        return os.path.samestat(before, hidden.stat())
    except FileNotFoundError:
        return False


def refuse_users_files(output: Path) -> None:
    """Refuse to replace an artifact in which a user has put files.

    Raises:
        UsageError: naming the first of them.
    """
    own = users_files(output)
    if own:
        more = f" and {len(own) - 1} more" if len(own) > 1 else ""
        raise UsageError(
            f"{output} holds what tfcli did not make: {own[0]}{more}",
            where="output",
            fix="move it elsewhere; the folder is replaced as a whole",
            code="output.not_empty",
        )


def users_files(output: Path) -> list[str]:
    """What is in an artifact and tfcli did not make: names, sorted."""
    record = read_record(output)
    if record is None:
        return []
    made = {*record["files"], RECORD, STAGED, COMPLETE}
    mark = read_mark(output, COMPLETE)
    patterns = () if mark is None else scratch_of(mark.command)
    found = []
    for root, folders, names in os.walk(output):
        links = [name for name in folders if Path(root, name).is_symlink()]
        for name in (*names, *links):
            relative = Path(root, name).relative_to(output).as_posix()
            first = relative.partition("/")[0]
            if relative not in made and not any(fnmatchcase(first, p) for p in patterns):
                found.append(relative)
    return sorted(found)


def scratch_of(command: str) -> tuple[str, ...]:
    """Patterns of what only an interrupted run of a command needs."""
    return VERBS[command].spec().scratch
