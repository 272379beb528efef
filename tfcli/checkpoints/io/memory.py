"""Whether memory of freed tensors goes back to the system or is kept for the next ones."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's numbers of the options, from malloc.h
_FROM = 1 << 20  # bytes
LARGEST = 1 << 25  # bytes: what glibc raises the threshold to by itself
KEPT = 1 << 28  # bytes
_SMALL_KEPT = 1 << 25  # bytes


@contextmanager
def freed_at_once() -> Iterator[None]:
    """Have glibc map every allocation of a megabyte or more by itself, while the block runs.

    By itself glibc raises that limit up to 32 MB as tensors are freed, takes the next ones from its
    heap, and before version 2.38 cannot use the hole that an aligned allocation left for another
    one of the same size. Work that makes and frees one tensor after the other then grows by the
    size of the whole checkpoint. With other C libraries nothing is done.

    Smaller ones, such as the pieces that work on a tensor is cut into, stay in the heap, of which
    32 MB may lie free: by itself glibc gives back all but 128 KB, and every piece would begin with
    new pages.

    Afterwards the limit is where glibc ends up by itself: small tensors of training and inference
    are faster from the heap.
    """
    _set(_MMAP_THRESHOLD, _FROM)
    _set(_TRIM_THRESHOLD, _SMALL_KEPT)
    try:
        yield
    finally:
        _set(_MMAP_THRESHOLD, LARGEST)


def freed_is_kept() -> None:
    """Have glibc keep up to 256 MB of what is freed, from now on, for the tensors that come next.

    A model makes and frees the same tensors in each layer and step. By itself glibc gives them back
    to the system whenever twice the largest one lies free, and the system then takes longer to give
    the pages again, zeroed one by one, than many an operation takes. With other C libraries nothing
    is done.
    """
    _set(_MMAP_THRESHOLD, LARGEST)
    _set(_TRIM_THRESHOLD, KEPT)


def _set(option: int, value: int) -> None:
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(option, value)
