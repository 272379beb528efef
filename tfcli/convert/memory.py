"""Memory of freed tensors goes back to the system at once."""

from __future__ import annotations

import ctypes
import platform

_MMAP_THRESHOLD = -3  # glibc's number of the option, from malloc.h
_FROM = 1 << 20  # bytes


def give_back_freed() -> None:
    """Have glibc map every allocation of a megabyte or more by itself, for this process.

    By itself glibc raises that limit up to 32 MB as tensors are freed, takes the next ones from its
    heap, and before version 2.38 cannot use the hole that an aligned allocation left for another
    one of the same size. A conversion, which makes and frees one tensor after the other, then grows
    by the size of the whole checkpoint. With other C libraries nothing is done.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _FROM)
