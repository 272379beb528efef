"""Tries every part and puts the answers together."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from typing import Literal

import psutil

import tfcli
from tfcli.checkpoints.packed.unpack import PACKINGS
from tfcli.console import Console
from tfcli.doctor.checks import CHECKS, Check, plain
from tfcli.doctor.probe import Answer, probe
from tfcli.doctor.result import Disk, DoctorResult, Part
from tfcli.models.layouts.registry import DENSE_IN_FOLDERS, METHODS, STANDING_FOR_OTHERS

_FACTS = {
    "devices": "tfcli.doctor.devices:devices",
    "disk": "tfcli.doctor.devices:disk",
    "arithmetic": "tfcli.doctor.checks:arithmetic",
}
_SECONDS = 90.0


def examine(
    console: Console, checks: Sequence[Check] = CHECKS, *, thorough: bool = True
) -> DoctorResult:
    """Look at the machine and try every check; without `thorough`, those that take long are not.

    A check that raises, crashes or hangs is reported as broken; the others still run.
    """
    wanted = [check for check in checks if thorough or not check.thorough]
    there = [check for check in wanted if check.package is None or _is_there(check.package)]
    tasks = [(check.function, check.seconds) for check in there]
    answers: dict[str, Answer] = {}
    with console.progress("trying every part", len(tasks) + len(_FACTS), unit="part") as bar:
        running = probe([*((each, _SECONDS) for each in _FACTS.values()), *tasks])
        names = [*_FACTS, *(check.name for check in there)]
        for name, answer in zip(names, running, strict=True):
            answers[name] = answer
            bar.advance()
    parts = [_part(check, answers.get(check.name)) for check in wanted]
    devices, disk, arithmetic = (answers[name] for name in _FACTS)
    for unknown in (devices, disk, arithmetic):
        if unknown.error:
            console.warn(plain(unknown.error))
    memory = psutil.virtual_memory()
    return DoctorResult(
        ok=all(part.state == "ok" for part in parts if part.required),
        versions=_versions(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        memory_bytes=memory.total,
        memory_free_bytes=memory.available,
        disk=None if disk.error else Disk(**disk.value),
        devices=devices.value or [],
        arithmetic=arithmetic.value or {},
        layouts=layouts(),
        not_tried=[check.name for check in checks if check not in wanted],
        parts=parts,
    )


def layouts() -> dict[str, Literal["packed", "unpacked"]]:
    """How the weights of every quant_method that is read are kept when the model runs."""
    known = (*METHODS, *STANDING_FOR_OTHERS)
    run = [method for method in known if method not in DENSE_IN_FOLDERS]
    packed: dict[str, Literal["packed", "unpacked"]] = dict.fromkeys(run, "packed")
    return {**dict.fromkeys(PACKINGS, "unpacked"), **packed}


def _is_there(package: str) -> bool:
    return find_spec(package) is not None


def _part(check: Check, answer: Answer | None) -> Part:
    if answer is None:
        state, detail, fix = "missing", "not installed", check.fix
    elif answer.error is not None:
        state, detail, fix = "broken", plain(answer.error), answer.fix or check.fix
    else:
        state, detail, fix = "ok", plain(str(answer.value)), None
    return Part.model_validate(
        {
            "name": check.name,
            "needed_for": check.needed_for,
            "required": check.required,
            "state": state,
            "detail": detail,
            "fix": fix,
            "seconds": answer.seconds if answer else 0.0,
        }
    )


def _versions() -> dict[str, str]:
    """The versions of what tfcli names as its requirements, test tools left out."""
    found = {"tfcli": tfcli.__version__, "python": platform.python_version()}
    try:
        lines = requires("tfcli") or []
    except PackageNotFoundError:
        return found  # run from a folder, not installed: the packages check says so
    for line in lines:
        name = re.match(r"[\w.-]+", line)
        if name is None or re.search(r"extra == .test.", line):
            continue
        try:
            found[name[0]] = version(name[0])
        except PackageNotFoundError:
            found[name[0]] = "missing"
    return found
