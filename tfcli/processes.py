"""Which process this is, when a launcher such as torchrun starts several."""

from __future__ import annotations

import os

from tfcli.errors import UsageError


def started_processes() -> int:
    """How many processes a launcher has started together; 1 without one."""
    size = os.environ.get("WORLD_SIZE", "1")
    if not size.isdecimal() or not int(size):
        raise UsageError(
            f"WORLD_SIZE is {size!r}, which is no number of processes",
            where="WORLD_SIZE",
            fix="unset WORLD_SIZE",
        )
    return int(size)


def is_launched() -> bool:
    """Whether a launcher has started this process, alone or beside others."""
    return "WORLD_SIZE" in os.environ


def refuse_launcher(command: str) -> None:
    """Refuse to do work in several processes that each of them would do alone.

    Raises:
        UsageError: a launcher has started more than this process.
    """
    processes = started_processes()
    if processes > 1:
        raise UsageError(
            f"{processes} processes were started together, and {command} works in one",
            where="WORLD_SIZE",
            fix="start it without torchrun (or unset WORLD_SIZE where nothing was started)",
            code="usage.several_processes",
        )


def is_first_process() -> bool:
    """Whether this process stages, records and prints. True unless a launcher says otherwise.

    Raises:
        UsageError: variables of a launcher that contradict each other, or are left over.
    """
    started = "WORLD_SIZE" in os.environ
    processes = started_processes()
    for name in ("RANK", "LOCAL_RANK"):
        rank = os.environ.get(name, "0")
        if not rank.isdecimal() or (int(rank) and not started):
            raise UsageError(
                f"{name} is {rank!r}, but no launcher such as torchrun has started this process",
                where=name,
                fix=f"unset {name}",
            )
        if int(rank) >= processes:
            raise UsageError(
                f"{name} is {rank}, but {processes} processes were started, counted from 0",
                where=name,
                fix=f"unset {name} and WORLD_SIZE, or use a launcher such as torchrun",
            )
    if processes > 1 and "RANK" not in os.environ:
        raise UsageError(
            f"WORLD_SIZE is {processes}, but no launcher such as torchrun has set RANK",
            where="WORLD_SIZE",
            fix="unset WORLD_SIZE",
        )
    return int(os.environ.get("RANK", "0")) == 0
