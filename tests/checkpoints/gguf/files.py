"""GGUF files made by hand: rewritten ones, and broken ones of a few bytes."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from tfcli.checkpoints.gguf.file import GGUFFile
from tfcli.checkpoints.gguf.file_write import PendingGGUF, Value, write_gguf


def rewrite(
    file: Path, out: Path, drop: str = "$^", change: Mapping[str, Value] | None = None
) -> Path:
    """The same file without the keys and tensors that match `drop`, with others set."""
    opened = GGUFFile(file)

    def parts(name: str) -> list[Tensor]:
        return [opened.read(name)]

    metadata = {
        key: Value(opened.types[key], value)
        for key, value in opened.metadata.items()
        if not re.match(drop, key)
    }
    tensors = [
        PendingGGUF(name, info.dtype, info.shape, partial(parts, name))
        for name, info in opened.tensors.items()
        if not re.match(drop, name)
    ]
    write_gguf(out, {**metadata, **(change or {})}, tensors)
    return out


def text(content: str | bytes) -> bytes:
    """A GGUF text: its length and its bytes."""
    data = content.encode() if isinstance(content, str) else content
    return struct.pack("<Q", len(data)) + data


def key(name: str | bytes, kind: int, value: bytes) -> bytes:
    """A metadata key with a value that is packed already."""
    return text(name) + struct.pack("<I", kind) + value


def tensor(name: str | bytes, dims: Sequence[int], kind: int = 0, offset: int = 0) -> bytes:
    """A tensor's entry."""
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def header(
    *parts: bytes,
    keys: int = 0,
    tensors: int = 0,
    version: int = 3,
    magic: bytes = b"GGUF",
    data: int = 0,
    alignment: int = 32,
) -> bytes:
    """A file: counts as given, `parts` as they are, padding, and `data` zero bytes."""
    content = magic + struct.pack("<IQQ", version, tensors, keys) + b"".join(parts)
    return content + bytes(-len(content) % alignment) + bytes(data)


def good(**changes: Any) -> bytes:
    """A small valid file: one key of each kind and two tensors."""
    keys = [
        key("general.architecture", 8, text("llama")),
        key("a.u8", 0, b"\x07"),
        key("a.bool", 7, b"\x01"),
        key("a.f32", 6, struct.pack("<f", 1.5)),
        key("a.i64", 11, struct.pack("<q", -9)),
        key("a.ints", 9, struct.pack("<IQ3i", 5, 3, 1, -2, 3)),
        key("a.texts", 9, struct.pack("<IQ", 8, 2) + text("x") + text("yé")),
        key("a.nested", 9, struct.pack("<IQ", 9, 1) + struct.pack("<IQ2B", 0, 2, 4, 5)),
    ]
    entries = [tensor("one", [4, 2], 0, 0), tensor("two", [32], 8, 32)]
    return header(*keys, *entries, keys=len(keys), tensors=2, data=32 + 64, **changes)
