"""How many bytes something reads, as the kernel counts them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def bytes_read(work: Callable[[], object]) -> int:
    """What this process asks of files while `work` runs, without what the count itself reads."""
    before = _asked()
    idle = _asked() - before
    before = _asked()
    work()
    return _asked() - before - idle


def _asked() -> int:
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("rchar:"):
            return int(line.split()[1])
    raise AssertionError("the kernel tells no rchar")
