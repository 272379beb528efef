"""Which process this is, when a launcher such as torchrun starts several."""

from __future__ import annotations

import os

from tfcli.errors import UsageError


def is_first_process() -> bool:
    """Whether this process stages, records and prints. True unless a launcher says otherwise."""
    rank = os.environ.get("RANK", "0")
    if not rank.isdecimal() or (int(rank) and "WORLD_SIZE" not in os.environ):
        raise UsageError(
            f"RANK is {rank!r}, but no launcher such as torchrun has started this process",
            where="RANK",
            fix="unset RANK",
        )
    return int(rank) == 0
