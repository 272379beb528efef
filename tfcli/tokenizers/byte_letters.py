"""The letters that byte-level vocabularies are spelt with."""

from __future__ import annotations


def byte_letters() -> list[str]:
    """The character that stands for each byte: the printable ones for themselves, and the others
    for characters from U+0100 on, in order (GPT-2)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]
