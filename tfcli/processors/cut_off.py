"""Files that end before their headers say: what a decoder would take for shorter audio or video."""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

from tfcli.errors import WorkError

_MOST = 100_000  # chunks that are looked at; a day of fragments of two seconds has 90,000
_UNKNOWN = 0x7FFF_F000  # from here on a size stands for "to the end", as programs write into pipes

_CONTENT = (b"moov", b"mdat", b"moof")  # boxes of an MP4 that nothing can be read without


def refuse_cut_off(file: BinaryIO, name: str) -> None:
    """Refuse a WAV, AIFF, AVI or MP4 file whose samples or frames are not all there.

    Other formats say nothing of their length, or their decoders see by themselves that something
    lacks. The file is at its start afterwards.

    Raises:
        WorkError: says how many bytes lack.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(12)
    lacking = 0
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        lacking = _chunks(file, size, "<I", b"data")
    elif head[:4] == b"RIFF" and head[8:] == b"AVI ":
        lacking = _chunks(file, size, "<I", b"LIST")
    elif head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
        lacking = _chunks(file, size, ">I", b"SSND")
    elif head[4:8] in (b"ftyp", b"wide", b"free", *_CONTENT):
        lacking = _boxes(file, size)
    file.seek(0)
    if lacking:
        raise WorkError(
            f"the file is cut off: {lacking:,} bytes that it should have are not there",
            where=name,
            fix="get the file again; the download may not be complete",
        )


def _chunks(file: BinaryIO, size: int, length_format: str, wanted: bytes) -> int:
    """Bytes that chunks of a name lack; chunks are a name, a length of 4 bytes, padding."""
    at = 12
    for _ in range(_MOST):
        file.seek(at)
        header = file.read(8)
        if len(header) < 8:
            break
        (length,) = struct.unpack(length_format, header[4:])
        found = header[:4] == wanted
        if found and (length == 0 or length >= _UNKNOWN):
            break
        if found and at + 8 + length > size:
            return at + 8 + length - size
        at += 8 + length + length % 2
    return 0


def _boxes(file: BinaryIO, size: int) -> int:
    """Bytes that lack of an MP4's outermost boxes: a length of 4, a name, a length of 8."""
    at = 0
    for _ in range(_MOST):
        file.seek(at)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:], "big")
        if len(header) < 8 or length < 8:  # 0 stands for "to the end"
            break
        if at + length > size and header[4:8] in _CONTENT:
            return at + length - size
        at += length
    return 0
