"""Checking the character map of a SentencePiece normalizer before it is walked.

The map is a double array (Yata et al. 2007) over UTF-8 bytes, whose leaves point into a list of
replacements that end with a zero byte. The reader in the tokenizers library trusts each index, and
a wrong one would end the process.
"""

from __future__ import annotations

import numpy as np

from tfcli.errors import WorkError
from tfcli.limits import MAX_MAPPED


def check_charsmap(charsmap: bytes, where: str) -> None:
    """Refuse a map in which some text could lead outside of it, or become far longer.

    Args:
        charsmap: 4 bytes with the length of the array in bytes, the array, the replacements.
        where: the file, for the error.
    """
    damaged = WorkError("its character map (precompiled_charsmap) is damaged", where=where)
    size = int.from_bytes(charsmap[:4], "little")
    if len(charsmap) < 4 or size % 1024 or not 0 < size <= len(charsmap) - 4:
        raise damaged
    try:
        charsmap[4 + size :].decode("utf-8")
    except UnicodeDecodeError:
        raise damaged from None
    units = np.frombuffer(charsmap, "<u4", size // 4, offset=4).astype(np.int64)
    text = np.frombuffer(charsmap, np.uint8, offset=4 + size)
    inner = np.flatnonzero(units < 1 << 31)  # the others are leaves; no byte matches their label
    offset = (units >> 10) << ((units & (1 << 9)) >> 6)
    children = (inner ^ offset[inner]) | 255  # a step changes the low eight bits only
    ends = inner[(units[inner] & (1 << 8)) != 0]
    leaves = ends ^ offset[ends]
    if not (children < len(units)).all():
        raise damaged
    value = units[leaves] & ~(1 << 31)
    if not (value < len(text)).all() or ((text[value] & 0xC0) == 0x80).any():
        raise damaged
    ends_at = np.flatnonzero(np.append(text, 0) == 0)
    longest = int(np.diff(ends_at, prepend=-1).max()) - 1
    if longest > MAX_MAPPED:
        raise WorkError(
            f"its character map puts a text of {longest:,} bytes for a few letters; at most "
            f"{MAX_MAPPED} are taken",
            where=where,
        )
