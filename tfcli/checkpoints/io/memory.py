"""Memory of freed tensors goes back to the system at once."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_MMAP_THRESHOLD = -3  # glibc's number of the option, from malloc.h
_FROM = 1 << 20  # bytes
_LARGEST = 1 << 25  # bytes: what glibc raises the threshold to by itself


@contextmanager
def freed_at_once() -> Iterator[None]:
    """Have glibc map every allocation of a megabyte or more by itself, while the block runs.

    By itself glibc raises that limit up to 32 MB as tensors are freed, takes the next ones from its
    heap, and before version 2.38 cannot use the hole that an aligned allocation left for another
    one of the same size. Work that makes and frees one tensor after the other then grows by the
    size of the whole checkpoint. With other C libraries nothing is done.

    Afterwards the limit is where glibc ends up by itself: small tensors of training and inference
    are faster from the heap.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_THRESHOLD, _FROM)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST)
