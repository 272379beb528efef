"""Running one step: skip it when done, stage what it makes, record it, give it its name.

A step writes into `.<name>.partial` beside its output. When it returns, the folder gets its
run.json, is flushed to disk and renamed (`staging`).
"""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from tfcli.checkpoints.io.snapshot import sources_kept
from tfcli.console import Console
from tfcli.errors import UsageError
from tfcli.families import load_family_file
from tfcli.files import write_json
from tfcli.hub import expecting
from tfcli.processes import is_first_process, refuse_launcher, started_processes
from tfcli.recipe.apart import check_apart
from tfcli.recipe.digests import InputDigests
from tfcli.recipe.job import Job
from tfcli.recipe.place import Place, completed, refuse_foreign
from tfcli.recipe.record import (
    RECORD,
    RunRecord,
    check_inputs,
    is_intact,
    is_ours,
    make_record,
    read_record,
    step_key,
)
from tfcli.recipe.spec import Result, Spec
from tfcli.recipe.staging import settle, staged
from tfcli.recipe.verbs import get_verb


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
    anew: bool = False,
    out: TextIO | None = None,
) -> Outcome:
    """Run one step.

    Args:
        force: run it even when its artifact is there, and discard an interrupted run of another
            spec.
        replace: an artifact made by tfcli with another spec may be replaced, and so may what an
            interrupted run of another spec left (recipes own their output folders).
        anew: read every input and every file of the artifact before it is said to be up to date,
            also those that this machine has hashed before.
        out: standard output, if the verb may write its text there while it is made.

    Raises:
        UsageError: a missing input, an output folder that must not be touched, or several
            processes for a verb that works in one.
        WorkError: the work failed, and nothing was written under the output's name; or it is done
            and something is in the way of its name.
    """
    verb = get_verb(spec.verb)
    check_processes(spec)
    check_inputs(spec)
    target = spec.target()
    check_apart(spec, [] if target is None else [target])
    if target is None:
        return Outcome(_run(spec, Job(console, out=out)), reused=False, output=None)

    place = Place.of(target, is_file=spec.suffix is not None)
    output = place.output
    refuse_foreign(place)
    inputs = InputDigests(spec, anew=anew)
    finished = None if force else _finished(place, spec, inputs, anew)
    if is_first_process():
        settle(place, console, finish=finished is not None)
    if finished is not None:
        return Outcome(verb.result().model_validate(finished["result"]), True, output)
    record = read_record(output)
    if record and not force:
        key = step_key(spec, inputs)
        if record["key"] == key and is_intact(output, record, anew=anew):
            return Outcome(verb.result().model_validate(record["result"]), True, output)
        if record["key"] != key and not replace:
            raise UsageError(
                f"{output} was made by another {record['command']} run",
                where="output",
                fix="choose another output, or --force to replace it",
                code="output.other_run",
            )
    if record is None and is_ours(output) and not (force or replace):
        raise UsageError(
            f"the {RECORD} of {output} is damaged, or another version of tfcli wrote it",
            where="output",
            fix="choose another folder, or --force to replace it",
            code="output.other_run",
        )
    if not is_first_process():
        # A process that a launcher started beside the first one works in the folder that the first
        # one stages. They meet when the verb joins its process group, before any of them writes.
        # The first one hashes what they read.
        with expecting(inputs.commits):
            result = _run(spec, Job(console, place.partial, inputs))
        _wait_for_its_name()
        return Outcome(result, False, output)
    started = datetime.now(UTC)
    # Only what may be gone on with has a key to compare before the work.
    begun = step_key(spec, inputs) if spec.resumable else None
    with staged(place, spec, begun, console, force=force, replace=replace) as folder:
        inputs.start()
        with expecting(inputs.commits):
            result = _run(spec, Job(console, folder, inputs, out, inputs.has_read))
        for name in inputs.confirm():
            console.warn(
                f"{name} was written to while it was read; it holds the same again, but what was "
                "read is not certain: the step is run again next time"
            )
        key = step_key(spec, inputs)
        record = make_record(spec, key, inputs, folder, result.model_dump(mode="json"), started)
        write_json(folder / RECORD, record)
    if started_processes() > 1:
        _wait_for_its_name()
    return Outcome(result, reused=False, output=output)


def _wait_for_its_name() -> None:
    """Wait, in all processes that shared a step, until the first one has given its artifact the
    name by which a later step of theirs may read it."""
    from tfcli.process_group import wait_for_all

    wait_for_all()


def check_processes(spec: Spec) -> None:
    """Refuse a step that each of several started processes would do alone, before any work.

    Raises:
        UsageError: a launcher has started several, and the verb works in one.
    """
    alone = spec.works_alone()
    if alone is not None:
        refuse_launcher(alone)


def _finished(place: Place, spec: Spec, inputs: InputDigests, anew: bool) -> RunRecord | None:
    """The record of this very step where a killed process completed it and did not name it."""
    record = completed(place)
    if record is None or record["key"] != step_key(spec, inputs):
        return None
    return record if is_intact(place.partial, record, anew=anew) else None


def _run(spec: Spec, job: Job) -> Result:
    """Do a verb's work. stdout is for results alone: what a library prints meanwhile, as deepspeed
    does when it is imported, goes to stderr.

    A spec's own families are loaded here, as late as can be: their file is code, which nothing but
    the work may run. So is what it is made of looked after here, for every verb."""
    with redirect_stdout(sys.stderr), nullcontext() if spec.loads_first else sources_kept():
        family_file = getattr(spec, "family_file", None)
        if family_file is not None:
            load_family_file(family_file)
            job.has_read(family_file)
        result: Result = get_verb(spec.verb).run()(spec, job)
    return result
