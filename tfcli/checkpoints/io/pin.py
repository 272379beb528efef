"""Keeping a file's number (inode) from being given to another file.

A file is known again by its device and number, and a file system may give the number of a file
that was removed to the next one, at once. Not while the file is held: by a descriptor, of which a
process has few, or by a map, of which it has many. The map here is of one page that nothing can
touch, so that it does no harm when the file becomes shorter.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import weakref

_NO_ACCESS, _PRIVATE = 0, 2  # PROT_NONE, MAP_PRIVATE: the same on Linux and macOS


class Pin:
    """Holds a file as long as this object lives. Without effect where the system has no such map.

    Args:
        descriptor: of the opened file; it may be closed afterwards.
    """

    def __init__(self, descriptor: int) -> None:
        if not sys.platform.startswith(("linux", "darwin")):
            return
        libc = ctypes.CDLL(None, use_errno=True)
        place, length = ctypes.c_void_p, ctypes.c_size_t
        libc.mmap.restype = place
        libc.mmap.argtypes = (place, length, *[ctypes.c_int] * 3, ctypes.c_long)
        libc.munmap.argtypes = (place, length)
        found = libc.mmap(None, mmap.PAGESIZE, _NO_ACCESS, _PRIVATE, descriptor, 0)
        if found != ctypes.c_void_p(-1).value:  # else its limit of maps is reached
            weakref.finalize(self, libc.munmap, found, mmap.PAGESIZE)
