"""The life of an output: staged, complete, under its name, finished.

    .NAME.partial        NAME                   what the next run does
    staged               any                    goes on from it if it can, or clears it
    complete             none, or the artifact  gives it the name, and works no second time
                         that it replaces
    the old artifact     complete               deletes the old artifact and what only an
                                                interrupted run needs, the mark last
    none                 complete               deletes what only an interrupted run needs, and the
                                                mark
    none                 finished               nothing

A staged folder has the mark `.key.json`, a complete one `.complete.json` and run.json, a finished
one run.json alone. Staged becomes complete when all of it is on the disk, complete takes the name
in one step (`renames.exchange`), and nothing is deleted before the name is on the disk. Where a
file system cannot exchange two names, the old artifact goes to .NAME.old first; where that is all
there is under the output's names but the complete folder, the next run of other options puts it
back.

An output that is one file is made in such a hidden folder, too. When that is complete, the file
takes the name, then its record the hidden name beside it, and the folder is deleted, the mark last.

So a process that dies at any moment leaves the old artifact or the new one whole, under a name that
the next run finds. What tfcli did not make is never moved, emptied or deleted.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tfcli.console import Console
from tfcli.errors import UsageError, WorkError
from tfcli.files import sync_entry, sync_folder
from tfcli.recipe.locks import Lock, lock
from tfcli.recipe.place import (
    Mark,
    Place,
    completed,
    has_name,
    identity,
    read_mark,
    refuse_foreign,
    refuse_users_files,
    replaced,
    scratch_of,
)
from tfcli.recipe.record import COMPLETE, RECORD, STAGED, is_intact, record_path
from tfcli.recipe.spec import Spec
from tfcli.renames import exchange, rename_new


def settle(place: Place, console: Console, *, finish: bool) -> None:
    """Do what a killed process left of its renaming and of what it deletes after that.

    Args:
        finish: whether the complete folder, if there is one, may take the name.
    """
    if (finish and completed(place) is not None) or has_name(place):
        with _held(place):
            if completed(place) is not None:
                _take_name(place, console)
                _finish(place, console)
    elif place.is_file:
        if read_mark(place.partial, COMPLETE) is not None and completed(place) is None:
            with _held(place):  # its record has left the folder, which only remained to be deleted
                _finish(place, console)
    elif not place.output.exists() and replaced(place):
        with _held(place):
            _put_back(place)
    elif read_mark(place.output, COMPLETE) is not None:
        try:
            with _held(place, begin=False):
                _finish(place, console)
        except WorkError as error:
            if error.code != "output.in_use":  # whoever is at it finishes it
                raise


@contextmanager
def staged(
    place: Place, spec: Spec, key: str | None, console: Console, *, force: bool, replace: bool
) -> Iterator[Path]:
    """A partial folder that becomes the output when the block ends well; of an output that is a
    file, the file of its name in the folder does.

    Args:
        key: the step's, where an interrupted run can be gone on with.
        force, replace: see `execute`.
    """
    with _explained(place), _held(place, console):
        for folder in (place.output, *replaced(place)):
            refuse_users_files(folder)
        if not (force or replace):
            _refuse_unfinished(place, key)
        try:
            _begin(place, spec, key, console, force=force)
            yield place.partial
            sync_folder(place.partial)
            (place.partial / STAGED).rename(place.partial / COMPLETE)
        except BaseException:
            _clear_after(place, spec, console)
            raise
        _take_name(place, console)
        _finish(place, console)


def discard(path: Path) -> None:
    """Delete a file or a folder, also one that is read-only. What tells whose a folder is goes
    last, so that what a kill leaves of it is known."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    if not os.access(path, os.W_OK | os.X_OK):
        path.chmod(0o700)
    order = {RECORD: 1, STAGED: 2, COMPLETE: 2}
    for item in sorted(path.iterdir(), key=lambda item: order.get(item.name, 0)):
        discard(item)
    path.rmdir()


def _unfinished(place: Place, key: str | None) -> str | None:
    """The command of another step that could be gone on with here, or only lacks its name."""
    record, mark = completed(place), read_mark(place.partial)
    if record is not None and is_intact(place.partial, record):
        return str(record["command"])
    return mark.command if mark is not None and mark.resumable and mark.key != key else None


def _refuse_unfinished(place: Place, key: str | None) -> None:
    other = _unfinished(place, key)
    if other is not None:
        raise UsageError(
            f"an interrupted {other} with other options or inputs lies in {place.partial}",
            where=str(place.output),
            fix="run it again as it was to finish it, or --force to discard it",
            code="output.interrupted",
        )


def _begin(place: Place, spec: Spec, key: str | None, console: Console, *, force: bool) -> None:
    """Mark the partial folder; keep an interrupted run of the same key in it, clear all else."""
    before, other = read_mark(place.partial), _unfinished(place, key)
    Mark(spec.verb, key, spec.resumable, identity(place.output)).write(place.partial)
    (place.partial / COMPLETE).unlink(missing_ok=True)
    if before is not None and before.key == key and spec.resumable and not force:
        return
    for item in place.partial.iterdir():
        if item.name != STAGED:
            discard(item)
    if other is not None:
        console.note(f"an interrupted {other} with other options or inputs is discarded")


def _clear_after(place: Place, spec: Spec, console: Console) -> None:
    """Delete what a failed run has staged, unless there is something in it to go on from."""
    try:
        names = {path.name for path in place.partial.iterdir()}
        if COMPLETE not in names and not (spec.resumable and names > {STAGED}):
            discard(place.partial)
    except OSError as error:
        console.warn(
            f"what was begun in {place.partial} could not be deleted ({error.strerror}); "
            "the next run does it"
        )


class _WayOut(NamedTuple):
    """What to do about what the system answers."""

    fix: str
    code: str


_WAYS_OUT = {
    errno.ENOSPC: _WayOut("free some space", code="disk.full"),
    errno.EDQUOT: _WayOut("free some of what your quota counts", code="disk.full"),
    errno.EIO: _WayOut("check the disk", code="system.error"),
    **dict.fromkeys(
        (errno.EROFS, errno.EACCES, errno.EPERM),
        _WayOut("check the permissions, or choose another output", code="output.unwritable"),
    ),
}


@contextmanager
def _explained(place: Place) -> Iterator[None]:
    """Turn what the system answers inside the block into an error with a place and a way out."""
    try:
        yield
    except ConnectionError:  # of another machine, or of whoever reads what is printed
        raise
    except OSError as error:
        if error.strerror is None:
            raise
        fix, code = _WAYS_OUT.get(error.errno or 0, _WayOut("mend that", code="system.error"))
        full = error.errno == errno.ENOSPC
        raise WorkError(
            "the disk is full" if full else error.strerror.lower(),
            where=str(place.output.parent if full else error.filename or place.output),
            fix=f"{fix} and run it again; nothing was written under the output's name",
            code=code,
        ) from error


def _take_name(place: Place, console: Console) -> None:
    """Give a complete folder the output's name, and see to it that it outlives a power cut.

    Raises:
        WorkError: something is in the way; it stays complete.
    """
    try:
        sync_entry(place.partial)
        refuse_foreign(place)
        refuse_users_files(place.output)
        if place.is_file:
            _rename_file(place)
        else:
            _rename(place, console)
        sync_entry(place.output.parent)
    except (UsageError, OSError) as error:
        what = error.what if isinstance(error, UsageError) else str(error.strerror).lower()
        raise _not_named(place, what) from error


def _not_named(place: Place, what: str) -> WorkError:
    if completed(place) is None:
        return WorkError(
            f"the work is done; that its name outlives a power cut is not sure: {what}",
            where=str(place.output),
            fix="it is whole there; run the same again to do what is left to do",
            code="output.not_named",
        )
    return WorkError(
        f"the work is done and cannot take its name: {what}",
        where=str(place.output),
        fix=f"it is whole in {place.partial}; run the same again when nothing is in the way, "
        "and it gets its name without being made again",
        code="output.not_named",
    )


def _rename_file(place: Place) -> None:
    """Give a file its name and its record the one beside it. Either was done where a process died
    after it."""
    if place.made.exists():
        if place.output.exists():  # what `refuse_foreign` has seen to be tfcli's
            place.made.replace(place.output)
        else:
            rename_new(place.made, place.output)
        sync_entry(place.output.parent)
    (place.partial / RECORD).replace(record_path(place.output))


def _rename(place: Place, console: Console) -> None:
    mark = read_mark(place.partial, COMPLETE)
    assert mark is not None, "only a complete folder is renamed"
    if not place.output.exists() or not any(place.output.iterdir()):
        if place.output.exists():
            place.output.rmdir()
        rename_new(place.partial, place.output)
        return
    if identity(place.output) != mark.replaces:
        raise UsageError(f"{place.output} was put there meanwhile")
    (place.output / COMPLETE).unlink(missing_ok=True)  # the old artifact waits for no name
    if exchange(place.partial, place.output):
        return
    console.note(
        f"the file system of {place.output.parent} cannot exchange two names: for a moment nothing "
        f"is called {place.output.name}"
    )
    rename_new(place.output, place.old)
    try:
        rename_new(place.partial, place.output)
    except OSError:
        rename_new(place.old, place.output)
        raise


def _put_back(place: Place) -> None:
    """Give an old artifact its name again, between two renames of a process that died."""
    if not place.output.exists() and place.old in replaced(place):
        rename_new(place.old, place.output)
        sync_entry(place.output.parent)


def _finish(place: Place, console: Console) -> None:
    """Delete what was needed until the output had its name, the mark last."""
    mark = read_mark(place.partial if place.is_file else place.output, COMPLETE)
    if mark is None:
        return
    try:
        sync_entry(place.output.parent)
        if place.is_file:
            discard(place.partial)
            return
        for path in replaced(place):
            refuse_users_files(path)  # the last moment in which a user may have put some there
            discard(path)
        if place.old.is_dir():
            place.old.rmdir()  # a kill came just before this
        for pattern in scratch_of(mark.command):
            for path in place.output.glob(pattern):
                discard(path)
        (place.output / COMPLETE).unlink()
    except (UsageError, OSError) as error:
        if isinstance(error, UsageError):
            what = error.what
        else:
            what = f"{error.strerror}: {error.filename or place.output.parent}"
        console.warn(
            f"{place.output} is whole; what is no longer needed beside it or in it could not be "
            f"deleted: {what}"
        )


@contextmanager
def _held(place: Place, console: Console | None = None, *, begin: bool = True) -> Iterator[None]:
    """Hold the output's folders, so that no other process changes them.

    Args:
        console: hears of a file system without locks.
        begin: make the partial folder if there is none. It is not left behind empty.

    Raises:
        UsageError: the folder cannot be made.
        WorkError: another process holds one of them.
    """
    locks: list[Lock] = []
    try:
        try:
            locks.append(_partial(place)) if begin else None
            for folder in (place.output, place.partial, place.old):
                if not any(held.is_on(folder) for held in locks) and folder.is_dir():
                    held = lock(folder)
                    locks += [] if held is None else [held]
        except BlockingIOError as error:
            raise WorkError(
                "another tfcli process is writing this output",
                where=str(place.output),
                fix="wait for it",
                code="output.in_use",
            ) from error
        lacking = next((held.lacking for held in locks if held.lacking), None)
        if lacking and console:
            console.warn(
                f"the file system of {place.output.parent} has no locks ({lacking}): nothing keeps "
                f"another tfcli process from writing {place.output.name} at the same time"
            )
        yield
    finally:
        if any(held.is_on(place.partial) for held in locks):
            _remove_empty(place.partial)
        for held in locks:
            held.release()


def _remove_empty(folder: Path) -> None:
    if any(folder.iterdir()):
        return
    with suppress(OSError):  # an empty folder is in nobody's way, and the error on its way matters
        folder.rmdir()


def _partial(place: Place) -> Lock:
    while True:
        try:
            _make_folder(place.output.parent)
            place.partial.mkdir(exist_ok=True)
        except OSError as error:
            fix, code = _WAYS_OUT.get(
                error.errno or 0, _WayOut("choose another output", code="output.unwritable")
            )
            if code != "output.unwritable":
                raise
            raise UsageError(
                f"cannot write there: {error.strerror}",
                where=str(place.output.parent),
                fix=fix,
                code=code,
            ) from error
        held = lock(place.partial)
        if held is not None:  # else another process has just given it its name
            return held


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that they outlive a power cut."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_entry(folder.parent)
