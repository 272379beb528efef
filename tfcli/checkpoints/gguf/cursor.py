"""Taking checked values from the bytes of a GGUF header, one after the other."""

from __future__ import annotations

import struct
from array import array
from pathlib import Path
from typing import Any

from tfcli.checkpoints.gguf.types import VALUE_TYPES
from tfcli.checkpoints.io.growing import Growing
from tfcli.errors import WorkError

AGAIN = "get the file again; it is damaged or was not written by a GGUF library"
MAX_METADATA = 64 << 20  # bytes of all keys and values; large vocabularies take 15 MB
MAX_TEXTS = 3 << 19  # in all arrays; a vocabulary of 262,144 tokens has about 780,000
MAX_DEPTH = 2  # arrays of arrays; no known file has any
_BEGIN = 24  # bytes before the metadata


class Cursor:
    """A place in a file's bytes. Each method takes what is there and moves on.

    Args:
        source: the file's content.
        path: the file, for errors.
    """

    def __init__(self, source: Growing, path: Path) -> None:
        self.path = path
        self.at, self.size = 0, source.size
        self._source, self._data = source, source.held
        self._texts = 0

    def refuse(self, where: str, what: str) -> WorkError:
        """An error that names the file and the field."""
        return WorkError(f"{where}: {what}", where=str(self.path), fix=AGAIN)

    def take(self, count: int, where: str) -> bytearray:
        """The next `count` bytes."""
        if count > self.size - self.at:
            raise self.refuse(
                where, f"truncated: it takes {count} bytes, the file has {self.size - self.at} more"
            )
        self._source.need(self.at + count)
        found = self._data[self.at : self.at + count]
        self.at += count
        return found

    def number(self, letter: str, where: str) -> Any:
        """A number of the struct type `letter`."""
        return struct.unpack(f"<{letter}", self.take(struct.calcsize(f"<{letter}"), where))[0]

    def require_count(self, count: int, most: int, least_bytes: int, where: str) -> None:
        """Refuse a count that the rest of the file cannot hold, or that is absurd."""
        left = self.size - self.at
        if count > most or count * least_bytes > left:
            what = f"{count}; the {left} bytes left hold {left // least_bytes} at most"
            if count <= left // least_bytes:
                what = f"{count}; at most {most} are read"
            raise self.refuse(where, what)

    def text(self, where: str, most: int | None = None) -> str:
        """A length and that many bytes of UTF-8: a name of at most `most` bytes, or a value.

        Bytes that are no UTF-8 stay in values as lone surrogates, so that they can be written
        back; in names they are refused.
        """
        length = self.number("Q", f"{where}, the length")
        value = most is None
        if most is None:
            most = self._room()
        if length > most:
            raise self.refuse(f"{where}, the length", f"{length} bytes; at most {most} are read")
        data = self.take(length, where)
        try:
            return data.decode("utf-8", "surrogateescape" if value else "strict")
        except UnicodeDecodeError:
            raise self.refuse(where, "it is not UTF-8 text") from None

    def value(self, where: str) -> tuple[str, Any]:
        """A metadata value, after its type."""
        return self._of_kind(self._kind(where), where, 0)

    def _kind(self, where: str) -> int:
        kind = self.number("I", f"{where}, the type")
        if kind not in VALUE_TYPES:
            raise self.refuse(f"{where}, the type", f"{kind} is not known")
        return int(kind)

    def _of_kind(self, kind: int, where: str, depth: int) -> tuple[str, Any]:
        name, letter = VALUE_TYPES[kind]
        if name == "string":
            return name, self.text(where)
        if name == "array":
            return self._array(where, depth)
        found = self.number(letter, where)
        if name == "bool":
            if found > 1:
                raise self.refuse(where, f"{found} is neither true nor false")
            return name, bool(found)
        return name, found

    def _array(self, where: str, depth: int) -> tuple[str, Any]:
        if depth == MAX_DEPTH:
            raise self.refuse(where, f"arrays in arrays; at most {MAX_DEPTH} levels are read")
        kind = self._kind(f"{where}, its elements")
        name, letter = VALUE_TYPES[kind]
        count = self.number("Q", f"{where}, the count")
        if name == "array":
            self._claim(count, 12, where)
            items = [self._array(where, depth + 1) for _ in range(count)]
            names = sorted({item for item, _ in items}) or ["array"]
            return f"array[{names[0]}]", [value for _, value in items]
        if name == "string":
            self._claim(count, 8, where)
            return "array[string]", self._texts_at(count, where)
        size = struct.calcsize(f"<{letter}")
        self.require_count(count, self._room() // size, size, f"{where}, the count")
        numbers = array(letter)
        numbers.frombytes(self.take(count * size, where))
        if name == "bool" and count and max(numbers) > 1:
            raise self.refuse(where, "an element is neither true nor false")
        return f"array[{name}]", numbers

    def _room(self) -> int:
        """How many bytes the metadata may still have."""
        return max(_BEGIN + MAX_METADATA - self.at, 0)

    def _claim(self, count: int, least: int, where: str) -> None:
        self.require_count(count, MAX_TEXTS - self._texts, least, f"{where}, the count")
        self._texts += count

    def _texts_at(self, count: int, where: str) -> list[str]:
        # The loop over a vocabulary: as `text`, without a call for each.
        data, at, need = self._data, self.at, self._source.need
        held, size = len(data), min(self.size, _BEGIN + MAX_METADATA)
        found = []
        unpack = struct.Struct("<Q").unpack_from
        for index in range(count):
            if at + 8 > size:
                raise self.refuse(f"{where}[{index}], the length", "truncated")
            if at + 8 > held:
                need(at + 8)
                held = len(data)
            (length,) = unpack(data, at)
            at += 8
            if length > size - at:
                raise self.refuse(
                    f"{where}[{index}], the length", f"{length} bytes; {size - at} are left"
                )
            if at + length > held:
                need(at + length)
                held = len(data)
            found.append(data[at : at + length].decode("utf-8", "surrogateescape"))
            at += length
        self.at = at
        return found
