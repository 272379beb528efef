"""The life of an output: staged, complete, under its name.

    what lies there                        what the next run of the same step does
    .NAME.partial with .key.json           staged: goes on from it if it can, or clears it
    .NAME.partial with run.json alone      complete: gives it its name, and works no second time
    .NAME.old, and no NAME                 killed between two renames: the complete folder takes the
                                           name; where there is none, the old artifact does again
    NAME beside .NAME.old, or with what    killed while that was deleted: deletes the rest
    only an interrupted step needs
    NAME with run.json                     finished

What is needed is deleted when what takes its place is complete and on the disk, never before. So a
process that dies at any moment leaves the old artifact or the new one whole, under a name that the
next run finds. What tfcli did not make is never moved, emptied or deleted.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tfcli.console import Console
from tfcli.errors import UsageError, WorkError
from tfcli.files import sync_entry, sync_folder, write_json
from tfcli.recipe.record import MARK, RECORD, RunRecord, is_ours, read_mark, read_record
from tfcli.recipe.spec import Spec


@dataclass(frozen=True)
class Place:
    """An output and the two hidden folders beside it."""

    output: Path

    @property
    def partial(self) -> Path:
        """What is being made."""
        return self.output.with_name(f".{self.output.name}.partial")

    @property
    def old(self) -> Path:
        """The artifact that is being replaced."""
        return self.output.with_name(f".{self.output.name}.old")


def refuse_foreign(place: Place) -> None:
    """Refuse an output whose folder, or one of those beside it, is not tfcli's to replace.

    Raises:
        UsageError: naming it.
    """
    output = place.output
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise UsageError(
            f"{output} is there and is not a folder", where="output", code="output.not_empty"
        )
    if output.is_dir() and not is_ours(output) and any(output.iterdir()):
        raise UsageError(
            f"{output} holds files that tfcli did not make",
            where="output",
            fix="choose an empty or a new folder; it is never overwritten",
            code="output.not_empty",
        )
    for hidden in (place.partial, place.old):
        if hidden.is_symlink() or (hidden.exists() and not _is_ours(hidden)):
            raise UsageError(
                f"{hidden} is in the way, and tfcli did not make it",
                where="output",
                fix="move it elsewhere, or choose another output",
                code="output.not_empty",
            )


def _is_ours(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    names = {path.name for path in folder.iterdir()}
    # The mark is the first file that is written, by way of a file of another name.
    begun = all(name.startswith(f".{MARK}.") for name in names)
    return begun or MARK in names or is_ours(folder)


def completed(place: Place) -> RunRecord | None:
    """The record of a complete folder that has not got its name; None where there is none."""
    return None if (place.partial / MARK).exists() else read_record(place.partial)


def settle(place: Place, spec: Spec, console: Console, *, finish: bool) -> None:
    """Do what a killed process left of its renaming and of what it deletes after that.

    Args:
        finish: whether the complete folder, if there is one, may take the name.
    """
    record = read_record(place.output)
    if record is not None and record["command"] == spec.verb:
        _discard_scratch(place.output, spec)
    if not finish and not place.old.is_dir():
        return
    with _locked(place, console):
        if finish and completed(place) is not None:
            _take_name(place, spec)
        elif place.output.exists():
            discard(place.old)
        elif place.old.is_dir():
            place.old.rename(place.output)
            sync_entry(place.output.parent)


@contextmanager
def staged(
    place: Place, spec: Spec, key: str | None, console: Console, *, force: bool, replace: bool
) -> Iterator[Path]:
    """A partial folder that becomes the output when the block ends well.

    Args:
        key: the step's, where an interrupted run can be gone on with.
        force, replace: see `execute`.
    """
    try:
        with _locked(place, console):
            discarded = _prepare(place, spec, key, force, replace)
            if discarded is not None:
                console.note(
                    f"an interrupted {discarded} with other options or inputs is discarded"
                )
            try:
                yield place.partial
                sync_folder(place.partial)
                (place.partial / MARK).unlink()
                sync_entry(place.partial)
            except BaseException:
                # There is nothing to go on from where only the mark lies.
                more = any(path.name != MARK for path in place.partial.iterdir())
                if completed(place) is None and not (spec.resumable and more):
                    discard(place.partial)
                raise
            _take_name(place, spec)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise WorkError(
            "the disk is full",
            where=str(place.output.parent),
            fix="free some space and run it again; nothing was written under its final name",
            code="disk.full",
        ) from error


def discard(path: Path) -> None:
    """Delete a file or a folder, also one that is read-only. What tells that a folder is tfcli's
    goes last, so that what a kill leaves of it is known."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    with suppress(FileNotFoundError):  # another process may be at it as well
        for root, _, _ in os.walk(path):
            folder = Path(root)
            if not os.access(folder, os.W_OK):
                folder.chmod(0o700)
        for item in path.iterdir():
            if item.name not in (MARK, RECORD):
                discard(item)
        shutil.rmtree(path)


def _take_name(place: Place, spec: Spec) -> None:
    """Give a complete folder the output's name, and delete what was needed until then."""
    try:
        refuse_foreign(place)
        if place.output.exists():
            discard(place.old)
            place.output.rename(place.old)
        place.partial.rename(place.output)
        sync_entry(place.output.parent)
    except (UsageError, OSError) as error:
        what = error.what if isinstance(error, UsageError) else f"{error.strerror}"
        raise WorkError(
            f"the work is done and cannot take its name: {what}",
            where=str(place.output),
            fix=f"it is whole in {place.partial}; run the same again when nothing is in the way, "
            "and it gets its name without being made again",
            code="output.not_named",
        ) from error
    discard(place.old)
    _discard_scratch(place.output, spec)


def _discard_scratch(folder: Path, spec: Spec) -> None:
    for pattern in spec.scratch:
        for path in folder.glob(pattern):
            discard(path)


@contextmanager
def _locked(place: Place, console: Console) -> Iterator[None]:
    """Hold the partial folder, which is made if need be, and is not left behind empty."""
    descriptor = _hold(place, console)
    try:
        yield
    finally:
        if _is_held(descriptor, place.partial) and not any(place.partial.iterdir()):
            place.partial.rmdir()
        os.close(descriptor)


def _hold(place: Place, console: Console) -> int:
    while True:
        try:
            place.output.parent.mkdir(parents=True, exist_ok=True)
            place.partial.mkdir(exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot write there: {error.strerror}",
                where=str(place.output.parent),
                code="output.unwritable",
            ) from error
        try:
            descriptor = os.open(place.partial, os.O_RDONLY)
        except FileNotFoundError:
            continue  # another process has just given it its name
        _lock(descriptor, place.output, console)
        if _is_held(descriptor, place.partial):
            return descriptor
        os.close(descriptor)


def _is_held(descriptor: int, partial: Path) -> bool:
    """Whether what is locked still has the partial folder's name."""
    return partial.is_dir() and os.path.samestat(os.fstat(descriptor), partial.stat())


def _lock(descriptor: int, output: Path, console: Console) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise WorkError(
            "another tfcli process is writing this output",
            where=str(output),
            fix="wait for it",
            code="output.in_use",
        ) from error
    except OSError as error:
        console.warn(
            f"the file system of {output.parent} has no locks ({error.strerror}): nothing keeps "
            f"another tfcli process from writing {output.name} at the same time"
        )


def _prepare(place: Place, spec: Spec, key: str | None, force: bool, replace: bool) -> str | None:
    """Keep an interrupted run of the same key, and clear anything else.

    Returns:
        The command of a run that was discarded and could have gone on, or only lacked its name.
    """
    mark, finished = read_mark(place.partial / MARK), completed(place)
    if mark is not None and mark["key"] == key and spec.resumable and not force:
        return None
    other: str | None = None
    if finished is not None:
        other = finished["command"]
    elif mark is not None and mark["key"] != key and mark["resumable"]:
        other = mark["command"]
    if other is not None and not (force or replace):
        raise UsageError(
            f"an interrupted {other} with other options or inputs lies in {place.partial}",
            where=str(place.output),
            fix="run it again as it was to finish it, or --force to discard it",
            code="output.interrupted",
        )
    write_json(
        place.partial / MARK, {"key": key, "command": spec.verb, "resumable": spec.resumable}
    )
    for item in place.partial.iterdir():
        if item.name != MARK:
            discard(item)
    return other
