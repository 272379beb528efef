"""Running one step: skip it when done, stage what it makes, record it, give it its name.

A step writes into `.<name>.partial` beside its output. When it returns, the folder gets its
run.json, is flushed to disk and renamed. A process that dies at any moment leaves the earlier
artifact as it was; what a resumable step had written is found by the next run.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from tfcli.checkpoints.strict_json import read_json
from tfcli.console import Console
from tfcli.errors import UsageError, WorkError
from tfcli.families import load_family_file
from tfcli.files import sync_entry, sync_folder, write_json
from tfcli.processes import is_first_process, refuse_launcher
from tfcli.recipe.digests import InputDigests
from tfcli.recipe.job import Job
from tfcli.recipe.record import (
    RECORD,
    check_inputs,
    is_intact,
    make_record,
    read_record,
    step_key,
)
from tfcli.recipe.spec import Result, Spec
from tfcli.recipe.verbs import get_verb

KEY_FILE = ".key.json"


@dataclass(frozen=True)
class Outcome:
    """How a step ended.

    Args:
        reused: the artifact was already there, made by the same spec from the same inputs.
    """

    result: Result
    reused: bool
    output: Path | None


def execute(
    spec: Spec,
    console: Console,
    *,
    force: bool = False,
    replace: bool = False,
    out: TextIO | None = None,
) -> Outcome:
    """Run one step.

    Args:
        force: run it even when its artifact is there, and discard an interrupted run of another
            spec.
        replace: an artifact made by tfcli with another spec may be replaced, and so may what an
            interrupted run of another spec left (recipes own their output folders).
        out: standard output, if the verb may write its text there while it is made.

    Raises:
        UsageError: a missing input, an output folder that must not be touched, or several
            processes for a verb that works in one.
        WorkError: the work failed; nothing was written under the output's name.
    """
    verb = get_verb(spec.verb)
    check_processes(spec)
    check_inputs(spec)
    target = spec.target()
    if target is None:
        return Outcome(_run(spec, Job(console, out=out)), reused=False, output=None)

    output = Path(target)
    _restore_interrupted_swap(output)
    _refuse_foreign(output)
    inputs = InputDigests(spec)
    record = read_record(output)
    if record and not force:
        key = step_key(spec, inputs)
        if record["key"] == key and is_intact(output, record):
            return Outcome(verb.result().model_validate(record["result"]), True, output)
        if record["key"] != key and not replace:
            raise UsageError(
                f"{output} was made by another {record['command']} run",
                where="output",
                fix="choose another folder, or --force to replace it",
                code="output.other_run",
            )
    if not is_first_process():
        # A process that a launcher started beside the first one works in the folder that the first
        # one stages. They meet when the verb joins its process group, before any of them writes.
        return Outcome(_run(spec, Job(console, _partial(output), inputs)), False, output)
    started = datetime.now(UTC)
    with _staged(output, inputs, spec, console, force=force, replace=replace) as folder:
        result = _run(spec, Job(console, folder, inputs, out))
        key = step_key(spec, inputs)
        record = make_record(spec, key, inputs, folder, result.model_dump(mode="json"), started)
        write_json(folder / RECORD, record)
    return Outcome(result, reused=False, output=output)


def check_processes(spec: Spec) -> None:
    """Refuse a step that each of several started processes would do alone, before any work.

    Raises:
        UsageError: a launcher has started several, and the verb works in one.
    """
    if not spec.distributed:
        refuse_launcher(spec.verb)


def _run(spec: Spec, job: Job) -> Result:
    """Do a verb's work. stdout is for results alone: what a library prints meanwhile, as deepspeed
    does when it is imported, goes to stderr.

    A spec's own families are loaded here, as late as can be: their file is code, which nothing but
    the work may run."""
    with redirect_stdout(sys.stderr):
        family_file = getattr(spec, "family_file", None)
        if family_file is not None:
            load_family_file(family_file)
        result: Result = get_verb(spec.verb).run()(spec, job)
    return result


def _partial(output: Path) -> Path:
    return output.with_name(f".{output.name}.partial")


def _refuse_foreign(output: Path) -> None:
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise UsageError(
            f"{output} is there and is not a folder", where="output", code="output.not_empty"
        )
    if output.is_dir() and read_record(output) is None and any(output.iterdir()):
        raise UsageError(
            f"{output} holds files that tfcli did not make",
            where="output",
            fix="choose an empty or a new folder; it is never overwritten",
            code="output.not_empty",
        )


@contextmanager
def _staged(
    output: Path, inputs: InputDigests, spec: Spec, console: Console, *, force: bool, replace: bool
) -> Iterator[Path]:
    """A partial folder that becomes `output` when the block ends well."""
    partial = _partial(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot write there: {error.strerror}",
            where=str(output.parent),
            code="output.unwritable",
        ) from error
    lock = os.open(partial, os.O_RDONLY)
    try:
        _lock(lock, output)
        # Only what may be gone on with has a key to compare before the work.
        key = step_key(spec, inputs) if spec.resumable else None
        discarded = _prepare(partial, output, key, spec, force, replace)
        if discarded is not None:
            console.note(f"an interrupted {discarded} with other options or inputs is discarded")
        inputs.start()
        try:
            yield partial
            (partial / KEY_FILE).unlink()
            sync_folder(partial)
            _swap(partial, output)
        except BaseException:
            # A finished step (no key file) that could not be renamed is not worth keeping, and
            # there is nothing to go on from where only the key lies.
            left = {path.name for path in partial.iterdir()}
            if not spec.resumable or KEY_FILE not in left or left == {KEY_FILE}:
                shutil.rmtree(partial, ignore_errors=True)
            raise
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise WorkError(
            "the disk is full",
            where=str(output.parent),
            fix="free some space and run it again; nothing was written under its final name",
            code="disk.full",
        ) from error
    finally:
        os.close(lock)


def _lock(descriptor: int, output: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise WorkError(
            "another tfcli process is writing this output",
            where=str(output),
            fix="wait for it",
            code="output.in_use",
        ) from error


def _prepare(
    partial: Path, output: Path, key: str | None, spec: Spec, force: bool, replace: bool
) -> str | None:
    """Keep an interrupted run of the same key, and clear anything else.

    Returns:
        The command of an interrupted run that was discarded and could have gone on.
    """
    key_file = partial / KEY_FILE
    old = read_json(key_file) if key_file.exists() else None
    if old is not None and old["key"] == key and spec.resumable and not force:
        return None
    resumable = old is not None and old["key"] != key and old["resumable"]
    other = old["command"] if old is not None and resumable else None
    if other and not (force or replace):
        raise UsageError(
            f"an interrupted {other} with other options or inputs lies in {partial}",
            where=str(output),
            fix="run it again as it was to finish it, or --force to discard it",
            code="output.interrupted",
        )
    for item in partial.iterdir():
        shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()
    write_json(key_file, {"key": key, "command": spec.verb, "resumable": spec.resumable})
    return other


def _swap(partial: Path, output: Path) -> None:
    old = output.with_name(f".{output.name}.old")
    if output.exists():
        output.rename(old)
    partial.rename(output)
    sync_entry(output.parent)
    shutil.rmtree(old, ignore_errors=True)


def _restore_interrupted_swap(output: Path) -> None:
    # A kill between the two renames of _swap leaves only the old artifact, under its spare name.
    old = output.with_name(f".{output.name}.old")
    if old.is_dir():
        if output.exists():
            shutil.rmtree(old)
        else:
            old.rename(output)
