"""Where the files in a zip archive lie: its directory, checked before anything else is read.

Python's zipfile is made to unpack; this tells places. Only stored (not compressed) entries are
accepted, so that an entry's bytes are the file's own bytes, and each is checked to have a place of
its own inside of the archive.

Source: PKWARE's APPNOTE, sections 4.3 and 4.5.3 (zip64).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Protocol

from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError

MAX_ENTRIES = 100_000
MAX_DIRECTORY = 32_000_000  # bytes
MAX_COMMENT = 65_535  # bytes, the format's own limit
LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
END64, LOCATOR64 = b"PK\x06\x06", b"PK\x06\x07"
# version, flags, method, time, date, crc, stored size, real size, lengths of name and extra
LOCAL_LAYOUT = struct.Struct("<4s5H3I2H")
# two versions, flags, method, time, date, crc, sizes, lengths of name, extra and comment, disk,
# attributes inside and outside, place of the local header
CENTRAL_LAYOUT = struct.Struct("<4s6H3I5H2I")
# disk, disk of the directory, entries here, entries, directory's size and place, comment's length
END_LAYOUT = struct.Struct("<4s4H2IH")
# size of this record, versions, disks, entries here, entries, directory's size and place
END64_LAYOUT = struct.Struct("<4sQ2H2I4Q")
LOCATOR64_LAYOUT = struct.Struct("<4sIQI")
_NARROW = 0xFFFFFFFF  # in a field of 32 bits: look in the zip64 extra
_AGAIN = "get the file again; it is damaged or was not written by torch.save"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in an archive.

    Args:
        name: its path in the archive.
        start: its first byte's place in the archive's file.
        nbytes: its length.
    """

    name: str
    start: int
    nbytes: int


class Places(Protocol):
    """A file, or one that is far away."""

    def bytes(self, start: int, count: int) -> bytes:
        """`count` bytes from the place `start` on; fewer where the file ends."""


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a file that an archive is.

    Args:
        reader: of the file.
        start: where in it the part begins.
        size: its length in bytes.
    """

    reader: Places
    start: int
    size: int

    def bytes(self, start: int, count: int) -> bytes:
        """`count` bytes from the place `start` of the part on; none from beyond it."""
        return self.reader.bytes(self.start + start, min(count, max(self.size - start, 0)))


def read_directory(part: Part, path: Path) -> dict[str, Entry]:
    """The entries of an archive by name, in the order of the directory.

    Args:
        part: the archive.
        path: its file, for errors.

    Raises:
        WorkError: a broken directory, an entry that is compressed or encrypted, lies outside of
            the archive or over another one, has the name of another one or one that leads away.
    """
    try:
        return _read(part)
    except _BrokenError as error:
        raise WorkError(str(error), where=str(path), fix=_AGAIN) from None


class _BrokenError(ValueError):
    """What is wrong; `read_directory` adds the file."""


def _read(part: Part) -> dict[str, Entry]:
    count, start, length = _find_directory(part)
    if length > MAX_DIRECTORY or count > MAX_ENTRIES:
        raise _BrokenError(f"zip directory: {count} entries in {length} bytes is more than is read")
    found = list(_entries(_at(part, start, length), count))
    entries: dict[str, Entry] = {}
    past = 0
    for header, name, nbytes in sorted(found):
        if header < past:
            raise _BrokenError(f"zip entry {short(name)}: it overlaps the entry before it")
        begin = _data_start(part, header, name, start)
        past = begin + nbytes
        if past > start:
            raise _BrokenError(
                f"zip entry {short(name)}: bytes {begin} to {past} reach into the directory at "
                f"{start}"
            )
        if name in entries:
            raise _BrokenError(f"zip entry {short(name)}: it stands twice")
        entries[name] = Entry(name, begin, nbytes)
    return {name: entries[name] for _, name, _ in found}


def _find_directory(part: Part) -> tuple[int, int, int]:
    """How many entries, where their directory begins, and its length."""
    size = part.size
    from_here = max(size - MAX_COMMENT - END_LAYOUT.size, 0)
    tail = _at(part, from_here, size - from_here)
    place = tail.rfind(END)
    if place < 0 or len(tail) - place < END_LAYOUT.size:
        raise _BrokenError("truncated: the zip archive has no end record")
    _, disk, first, here, count, length, start, comment = END_LAYOUT.unpack_from(tail, place)
    if place + END_LAYOUT.size + comment != len(tail):
        raise _BrokenError("zip end record: bytes are left over after it")
    end = size - len(tail) + place
    locator = end - LOCATOR64_LAYOUT.size
    text = _at(part, locator, LOCATOR64_LAYOUT.size) if locator >= 0 else b""
    if text.startswith(LOCATOR64):
        _, _, end, disks = LOCATOR64_LAYOUT.unpack(text)
        record = _at(part, end, END64_LAYOUT.size)
        if not record.startswith(END64) or disks > 1:
            raise _BrokenError("zip64 end record: it is not where its locator says")
        _, _, _, _, disk, first, here, count, length, start = END64_LAYOUT.unpack(record)
    if disk or first or here != count:
        raise _BrokenError("zip end record: the archive is split into several files")
    if start + length > end:
        raise _BrokenError(
            f"zip end record: a directory of {length} bytes at {start} reaches past byte {end}"
        )
    return count, start, length


def _entries(directory: bytes, count: int) -> Iterator[tuple[int, str, int]]:
    """Of each entry: the place of its local header, its name, its length."""
    at = 0
    for number in range(count):
        if len(directory) - at < CENTRAL_LAYOUT.size or directory[at : at + 4] != CENTRAL:
            raise _BrokenError(f"zip directory: entry {number} of {count} is missing")
        fields = CENTRAL_LAYOUT.unpack_from(directory, at)
        flags, method, stored, nbytes, named, extra, comment = (
            fields[i] for i in (3, 4, 8, 9, 10, 11, 12)
        )
        disk, header = fields[13], fields[16]
        at += CENTRAL_LAYOUT.size
        name = _checked_name(directory[at : at + named])
        if at + named + extra + comment > len(directory):
            raise _BrokenError(f"zip entry {short(name)}: its fields reach past the directory")
        wide = _wide(directory[at + named : at + named + extra], name)
        nbytes, stored, header = (
            next(wide, -1) if value == _NARROW else value for value in (nbytes, stored, header)
        )
        if -1 in (nbytes, stored, header):
            raise _BrokenError(f"zip entry {short(name)}: it lacks its zip64 sizes")
        _require_plain(name, flags, method)
        if stored != nbytes or disk not in (0, 0xFFFF):
            raise _BrokenError(f"zip entry {short(name)}: {stored} bytes are stored for {nbytes}")
        yield header, name, nbytes
        at += named + extra + comment
    if at != len(directory):
        raise _BrokenError(f"zip directory: {len(directory) - at} bytes are left over")


def _wide(extra: bytes, name: str) -> Iterator[int]:
    """The 64-bit numbers of the zip64 extra field, in their order."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        at += 4
        if at + length > len(extra):
            raise _BrokenError(f"zip entry {short(name)}: its extra field is cut off")
        if kind == 1:
            for place in range(at, at + length - 7, 8):
                yield int.from_bytes(extra[place : place + 8], "little")
            return
        at += length


def _data_start(part: Part, header: int, name: str, end: int) -> int:
    before = replace(part, size=end)
    local = _at(before, header, LOCAL_LAYOUT.size)
    if not local.startswith(LOCAL):
        raise _BrokenError(f"zip entry {short(name)}: no local header at byte {header}")
    fields = LOCAL_LAYOUT.unpack(local)
    flags, method, named, extra = (fields[i] for i in (2, 3, 9, 10))
    own = _at(before, header + LOCAL_LAYOUT.size, named)
    if own != name.encode():
        raise _BrokenError(
            f"zip entry {short(name)}: its local header says {short(own.decode(errors='replace'))}"
        )
    _require_plain(name, flags, method)
    start: int = header + LOCAL_LAYOUT.size + named + extra
    return start


def _require_plain(name: str, flags: int, method: int) -> None:
    if flags & 0x2041:
        raise _BrokenError(f"zip entry {short(name)}: it is encrypted")
    if method:
        raise _BrokenError(f"zip entry {short(name)}: it is compressed (method {method})")


def _checked_name(raw: bytes) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise _BrokenError(f"zip entry {raw[:80]!r}: its name is not UTF-8") from None
    pure = PurePosixPath(name)
    if not name or "\0" in name or "\\" in name or pure.is_absolute() or ".." in pure.parts:
        raise _BrokenError(f"zip entry {short(name)}: its name leads outside of the archive")
    return name


def _at(part: Part, start: int, count: int) -> bytes:
    if start + count > part.size:
        raise _BrokenError(
            f"truncated: {count} bytes at {start} are outside of the {part.size} held"
        )
    return part.bytes(start, count)


def common_folder(names: Iterable[str]) -> str | None:
    """The one folder at the top that all names share, or None."""
    tops = {name.partition("/")[0] if "/" in name else "" for name in names}
    return tops.pop() if len(tops) == 1 else None
