"""The header of a GGUF file: read strictly, checked before any tensor is touched.

The format (docs/gguf.md of ggml-org/ggml), versions 2 and 3, little endian: `GGUF`, the version,
the number of tensors, the number of metadata keys; then each key with its typed value; then each
tensor's name, dimensions (the fastest first), type and place; then the data, which begins at a
multiple of `general.alignment`, as does every tensor in it.

Every count and length is compared with what is left of the file before anything is taken, so a
hostile file costs no more than its own size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfcli.checkpoints.gguf.cursor import AGAIN, Cursor
from tfcli.checkpoints.gguf.types import BY_NUMBER
from tfcli.checkpoints.io.growing import Growing
from tfcli.checkpoints.io.header import TensorInfo
from tfcli.checkpoints.io.opened import OpenedFile
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = 32  # where a file says nothing
MAX_ALIGNMENT = 1 << 20
MAX_DIMENSIONS = 4  # ggml's own limit
MAX_NAME = 255  # bytes; llama.cpp takes 63, other programs are built to take more
MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 17
_LARGEST = 2**63 - 1
_LEAST_KEY = 8 + 1 + 4 + 1  # bytes: a text of one letter, a type, a value of one byte
_LEAST_TENSOR = 8 + 1 + 4 + 8 + 4 + 8


@dataclass(frozen=True)
class Header:
    """A checked header.

    Args:
        tensors: name -> place and shape, in the order of their data. Shapes are as torch has them,
            the slowest dimension first; `dtype` is ggml's name, such as `Q4_K`.
        metadata: key -> value. Arrays of numbers are `array.array`, those of texts lists.
        types: key -> the value's type, such as `uint32` or `array[string]`.
        version: 2 or 3.
        alignment: of the data.
    """

    tensors: dict[str, TensorInfo]
    metadata: dict[str, Any] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    version: int = 3
    alignment: int = ALIGNMENT


def is_gguf(path: Path) -> bool:
    """Whether a file begins as a GGUF file does."""
    try:
        with path.open("rb") as file:
            return file.read(4) == MAGIC
    except OSError:
        return False


def kind_of(path: Path) -> str | None:
    """What a GGUF file says that it is (`general.type`): `model`, `imatrix`, `mmproj`, ...

    None where it says nothing, or is broken before it does: who reads it then is told how.
    """
    try:
        with OpenedFile(path).reading() as reader:
            cursor = Cursor(Growing(reader), path)
            _version(cursor)
            cursor.number("Q", "the tensor count")
            for index in range(min(cursor.number("Q", "the metadata count"), MAX_KEYS)):
                key = cursor.text(f"metadata key {index}", MAX_KEYS)
                kind, value = cursor.value(f"metadata {short(key)}")
                if key == "general.type":
                    return value if kind == "string" else None
    except WorkError:
        return None
    return None


def read_header(file: OpenedFile) -> Header:
    """Read and check the header of a GGUF file; the data is not read.

    Raises:
        WorkError: the file cannot be read, changed or breaks the format; names the file and the
            field.
    """
    if file.size < 24:
        raise WorkError(
            f"truncated: {file.size} bytes are too few for a GGUF file",
            where=str(file.path),
            fix=AGAIN,
        )
    with file.reading() as reader:
        return _header(Cursor(Growing(reader), file.path))


def _header(cursor: Cursor) -> Header:
    version = _version(cursor)
    tensor_count = cursor.number("Q", "the tensor count")
    key_count = cursor.number("Q", "the metadata count")
    cursor.require_count(tensor_count, MAX_TENSORS, _LEAST_TENSOR, "the tensor count")
    cursor.require_count(key_count, MAX_KEYS, _LEAST_KEY, "the metadata count")
    metadata, types = _metadata(cursor, key_count)
    alignment = _alignment(cursor, metadata, types)
    found: dict[str, TensorInfo] = {}
    for index in range(tensor_count):
        info = _tensor(cursor, index, alignment)
        if info.name in found:
            raise cursor.refuse(f"tensor {short(info.name)}", "its name stands twice")
        found[info.name] = info
    tensors = _placed(cursor, found, alignment)
    return Header(tensors, metadata, types, version, alignment)


def _version(cursor: Cursor) -> int:
    if cursor.take(4, "the magic") != MAGIC:
        raise WorkError("not a GGUF file: it does not begin with GGUF", where=str(cursor.path))
    version = cursor.number("I", "the version")
    if version in VERSIONS:
        return version
    if version & 0xFFFF == 0 and version:
        raise cursor.refuse("the version", "its bytes are swapped: big-endian files are not read")
    raise cursor.refuse("the version", f"it is {version}; 2 and 3 are read")


def _metadata(cursor: Cursor, count: int) -> tuple[dict[str, Any], dict[str, str]]:
    metadata: dict[str, Any] = {}
    types: dict[str, str] = {}
    for index in range(count):
        key = cursor.text(f"metadata key {index}", MAX_KEYS)
        if not key:
            raise cursor.refuse(f"metadata key {index}", "it is empty")
        if key in metadata:
            raise cursor.refuse(f"metadata key {short(key)}", "it stands twice")
        types[key], metadata[key] = cursor.value(f"metadata {short(key)}")
    return metadata, types


def _alignment(cursor: Cursor, metadata: dict[str, Any], types: dict[str, str]) -> int:
    found = metadata.get("general.alignment", ALIGNMENT)
    if types.get("general.alignment", "uint32") != "uint32":
        raise cursor.refuse("general.alignment", "it must be a uint32")
    if not 1 <= found <= MAX_ALIGNMENT or found & (found - 1):
        raise cursor.refuse(
            "general.alignment", f"it is {found}; it must be a power of two up to {MAX_ALIGNMENT}"
        )
    return int(found)


def _tensor(cursor: Cursor, index: int, alignment: int) -> TensorInfo:
    name = cursor.text(f"the name of tensor {index}", MAX_NAME)
    if not name:
        raise cursor.refuse(f"the name of tensor {index}", "it is empty")
    where = f"tensor {short(name)}"
    count = cursor.number("I", f"{where}, the number of dimensions")
    if count > MAX_DIMENSIONS:
        raise cursor.refuse(where, f"{count} dimensions; at most {MAX_DIMENSIONS} are read")
    dims = [cursor.number("Q", f"{where}, dimension {place}") for place in range(count)]
    number = cursor.number("I", f"{where}, the type")
    offset = cursor.number("Q", f"{where}, the offset")
    kind = BY_NUMBER.get(number)
    if kind is None:
        raise cursor.refuse(f"{where}, the type", f"{number} is not known")
    if max(dims, default=0) > _LARGEST or math.prod(n for n in dims if n) > _LARGEST // kind.size:
        raise cursor.refuse(f"{where}, the dimensions", "the number of elements overflows 64 bits")
    width = dims[0] if dims else 1
    if width % kind.block:
        raise cursor.refuse(
            f"{where}, the dimensions",
            f"rows of {width} elements do not fill {kind.name}'s blocks of {kind.block}",
        )
    if offset % alignment:
        raise cursor.refuse(f"{where}, the offset", f"{offset} is no multiple of {alignment}")
    nbytes = math.prod(dims[1:]) * kind.row_bytes(width)
    return TensorInfo(name, kind.name, tuple(reversed(dims)), cursor.path, offset, nbytes)


def _placed(cursor: Cursor, found: dict[str, TensorInfo], alignment: int) -> dict[str, TensorInfo]:
    """The tensors in the order of their data, counted from the file's start."""
    start = cursor.at + -cursor.at % alignment
    size = cursor.size
    position = 0
    placed = {}
    ordered = sorted(found.values(), key=lambda info: (info.start, info.start + info.nbytes))
    for info in ordered:
        where = f"tensor {short(info.name)}, the offset"
        if info.start > size or info.start + info.nbytes > size - start:
            held = max(size - start, 0)
            end = info.start + info.nbytes
            raise cursor.refuse(
                where, f"bytes {info.start} to {end} are outside the {held} bytes held"
            )
        if info.start != position:
            what = (
                "it overlaps the tensor before it"
                if info.start < position
                else "a hole is before it"
            )
            raise cursor.refuse(where, what)
        position += info.nbytes + -info.nbytes % alignment
        placed[info.name] = TensorInfo(
            info.name, info.dtype, info.shape, info.file, start + info.start, info.nbytes
        )
    if found and size - start > position:
        raise cursor.refuse(
            "the data", f"the tensors end at byte {start + position}, the file at {size}"
        )
    return placed
