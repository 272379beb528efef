"""Sizes as people write and read them: `5GB` in a recipe, `2.47 GB` in a table."""

from __future__ import annotations

import re

_DECIMAL = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([KMGT]?)(I?)(B?)\s*", re.IGNORECASE | re.ASCII)


def parse_bytes(value: str | int) -> int:
    """Turn `5GB`, `500 MB`, `1.5GiB` or a plain integer into a number of bytes.

    GB is 10^9 and GiB is 2^30, as the hub and transformers count shards.

    Raises:
        ValueError: not a size, or not above zero.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{value!r} is not a size; write 5GB, 500MB or a number of bytes")
    found = _SIZE.fullmatch(str(value))
    # `5i` and `5iB` have no meaning: the i belongs to a prefix.
    if found is None or (found[3] and not found[2]):
        raise ValueError(f"{value!r} is not a size; write 5GB, 500MB or a number of bytes")
    scale = (_BINARY if found[3] else _DECIMAL)[found[2].upper()]
    whole, _, fraction = found[1].partition(".")
    size = (int((whole or "0") + fraction) * scale) // 10 ** len(fraction)
    if size < 1:
        raise ValueError(f"{value!r} is no size to work with; give one byte or more")
    return size


def format_bytes(count: int) -> str:
    """A number of bytes in three digits and a decimal unit: 2471645608 is `2.47 GB`."""
    return _short(count, ("B", "kB", "MB", "GB", "TB", "PB"))


def format_count(count: int) -> str:
    """A number of things in three digits: 1235814400 is `1.24 B`, with K, M, B and T."""
    return _short(count, ("", "K", "M", "B", "T")).rstrip()


def format_seconds(seconds: float) -> str:
    """A time as people say it: `45 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def plural(count: int, thing: str) -> str:
    """`1 document`, `2,000 documents`, `2 processes`: a number with what it counts."""
    ending = "es" if thing.endswith(("s", "x", "ch", "sh")) else "s"
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}{ending}"


def _short(count: int, units: tuple[str, ...]) -> str:
    if abs(count) < 1000:
        return f"{count} {units[0]}"
    value, place = float(count), 0
    while abs(value) >= 999.5 and place < len(units) - 1:
        value, place = value / 1000, place + 1
    # Three significant digits, whatever the size.
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{digits}f} {units[place]}"
