"""Times as people write them."""

from __future__ import annotations

import re

from tfcli.errors import UsageError

_UNITS = (86400, 3600, 60, 1)
_WORDS = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_CLOCK = re.compile(r"(?:(\d+)-)?(\d{1,2}):(\d{2}):(\d{2})")


def parse_duration(text: str, where: str) -> int:
    """Seconds of `90m`, `1d12h`, `12:00:00` or `1-12:00:00`.

    Raises:
        UsageError: something else, or no time at all.
    """
    clock, words = _CLOCK.fullmatch(text), _WORDS.fullmatch(text)
    parts = clock.groups() if clock else words.groups() if words else ()
    if clock and max(int(clock[3]), int(clock[4])) > 59:
        parts = ()
    seconds = sum(int(n or 0) * unit for n, unit in zip(parts, _UNITS, strict=False))
    if not seconds:
        raise UsageError(
            f"{text!r} is no length of time", where=where, fix="write 90m, 1d12h or 12:00:00"
        )
    return seconds


def as_clock(seconds: int) -> str:
    """`1-12:00:00`, as Slurm reads it."""
    days, left = divmod(seconds, 86400)
    hours, left = divmod(left, 3600)
    return f"{days}-{hours:02}:{left // 60:02}:{left % 60:02}"
