"""What happens when a mapped file becomes shorter while it is read.

Its lost pages cannot be given to whoever touches them: Linux ends the process with SIGBUS, without
a word. Here the signal is taken, as servers of shared memory do (wayland's `wl_shm_buffer`): pages
of zeros are put in the place of the lost ones, the work goes on, and afterwards it is refused.
"""

from __future__ import annotations

import ctypes
import mmap
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfcli.errors import WorkError

_SIGINFO, _NODEFER = 4, 0x40000000  # of sigaction's flags, Linux's numbers
_FIXED = 0x10  # MAP_FIXED, which the mmap module does not name
_ADDRESS_AT = 16  # of si_addr in a siginfo_t of 64-bit systems
_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


class _Action(ctypes.Structure):
    """`struct sigaction` of Linux's C libraries on 64-bit systems."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_ubyte * 128),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


@contextmanager
def truncation_refused() -> Iterator[None]:
    """Turn the loss of a mapped file's pages inside the block into an error at its end.

    For the main thread of a process. On systems other than 64-bit Linux nothing is done.

    Raises:
        WorkError: a mapped file was read where it has no pages any more; names it. What the block
            made is wrong then. An exception of the block itself goes first.
    """
    if not sys.platform.startswith("linux") or sys.maxsize < 2**32:
        yield
        return
    lost: list[str] = []
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
    before = _Action()

    def handle(_signal: int, info: int, _context: int) -> None:
        # Runs in the thread that touched the page, at the instruction that did, and never inside
        # of the interpreter or an allocator: only maps of files give this signal.
        address = ctypes.c_size_t.from_address(info + _ADDRESS_AT).value
        found = _file_at(address)
        if found is None or not _put_zeros(libc, address, *found[:2]):
            libc.sigaction(signal.SIGBUS, ctypes.byref(before), None)  # it ends the process
        elif found[2] not in lost:
            lost.append(found[2])

    callback = _HANDLER(handle)
    action = _Action(ctypes.cast(callback, ctypes.c_void_p).value, flags=_SIGINFO | _NODEFER)
    libc.sigaction(signal.SIGBUS, ctypes.byref(action), ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaction(signal.SIGBUS, ctypes.byref(before), None)
    if lost:
        raise WorkError(
            "pages were lost while it was read: it became shorter, or its disk fails",
            where=lost[0],
            fix="let what writes the file finish, or get it again",
        )


def _file_at(address: int) -> tuple[int, bool, str] | None:
    """The mapped file at an address: where the map ends, whether it is writable, the path."""
    for line in Path("/proc/self/maps").read_text(errors="replace").splitlines():
        span, access, _, _, inode, *name = line.split(maxsplit=5)
        start, end = (int(place, 16) for place in span.split("-"))
        if start <= address < end and inode != "0":
            return end, "w" in access, "".join(name)
    return None


def _put_zeros(libc: ctypes.CDLL, address: int, end: int, writable: bool) -> bool:
    """Put empty pages over a map from the page of an address on."""
    start = address - address % mmap.PAGESIZE
    access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    kind = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _FIXED
    return bool(libc.mmap(start, end - start, access, kind, -1, 0) == start)
