"""The header of a safetensors file: read strictly, checked before any tensor is touched.

The format, from the safetensors README: 8 bytes with the header's length N (unsigned, little
endian), N bytes of JSON that begin with `{` and may end in spaces, then the data. Each key of the
JSON is a tensor with `dtype`, `shape` and `data_offsets` (begin and end, counted from the start of
the data), but for `__metadata__`, which maps texts to texts. The data has no holes.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfcli.checkpoints.io.dtypes import BITS
from tfcli.checkpoints.io.opened import OpenedFile, Reader
from tfcli.checkpoints.strict_json import BUDGET, kind, memory, parse_object, short
from tfcli.errors import WorkError, nearest
from tfcli.units import format_bytes

MAX_HEADER = 100_000_000  # bytes, the reference implementation's limit
MAX_DIMENSIONS = 64  # torch's own limit
ALIGNMENT = 64  # of the data's start in files that we write: a cache line; the format allows any
_LARGEST = 2**63 - 1  # torch counts elements in signed 64 bits
_AGAIN = "get the file again; it is damaged or was not written by a safetensors library"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What a header says about one tensor.

    Args:
        name: the tensor's name.
        dtype: the safetensors code, such as `BF16`.
        shape: the dimensions, in elements.
        file: the file that holds the data.
        start: the data's place in that file, in bytes.
        nbytes: the data's length in bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    nbytes: int

    @property
    def elements(self) -> int:
        """How many values the tensor holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """A checked header: tensors in the order of their data, and the file's own metadata."""

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str] = field(default_factory=dict)


def read_header(file: OpenedFile) -> Header:
    """Read and check the header of a safetensors file; the data is not read.

    Raises:
        WorkError: the file cannot be read, changed or breaks the format; names the file and the
            field.
    """
    with file.reading() as reader:
        start, text = _header_bytes(reader, file.path)
    return parse_header(text, path=file.path, start=start, size=file.size)


def parse_header(text: bytes, *, path: Path, start: int, size: int) -> Header:
    """Check a header's JSON against a file of `size` bytes whose data begins at `start`.

    Raises:
        WorkError: as in `read_header`.
    """
    content = parse_object(text, where=str(path), what="the header")
    metadata = _metadata(content.pop("__metadata__", {}), path)
    found = [_entry(name, value, path, start, size) for name, value in content.items()]
    found.sort(key=lambda info: (info.start, info.start + info.nbytes))
    position = start
    for info in found:
        if info.start != position:
            what = "overlaps the tensor before it" if info.start < position else "follows a hole"
            raise WorkError(
                f"data_offsets of {short(info.name)}: it {what}", where=str(path), fix=_AGAIN
            )
        position += info.nbytes
    if position != size:
        raise WorkError(
            f"data_offsets: the tensors end at byte {position}, the file at {size}",
            where=str(path),
            fix=_AGAIN,
        )
    return Header({info.name: info for info in found}, metadata)


def encode_header(
    tensors: Iterable[tuple[str, str, tuple[int, ...], int]], metadata: Mapping[str, str]
) -> bytes:
    """The length field and header for (name, dtype code, shape, nbytes), in the data's order.

    Spaces at the end bring the data's start to a multiple of 64 bytes.
    """
    content: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    position = 0
    for name, dtype, shape, nbytes in tensors:
        if name == "__metadata__" or name in content:
            raise WorkError(f"the tensor name {short(name)} is taken")
        offsets = [position, position + nbytes]
        content[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": offsets}
        position += nbytes
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % ALIGNMENT)
    if len(text) > MAX_HEADER or memory(text) > BUDGET:
        count = len(content) - bool(metadata)
        raise WorkError(
            f"the header of {count:,} tensors would take {len(text):,} bytes and "
            f"{format_bytes(memory(text))} to read; {MAX_HEADER:,} and {format_bytes(BUDGET)} are "
            "allowed",
            fix="write more files, each with fewer tensors",
        )
    return struct.pack("<Q", len(text)) + text


def data_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """The bytes of a tensor; F4 and F6 values are packed.

    Raises:
        ValueError: packed values that do not fill whole bytes.
    """
    bits = math.prod(shape) * BITS[dtype]
    if bits % 8:
        raise ValueError(f"{math.prod(shape)} values of {dtype} do not fill whole bytes")
    return bits // 8


def _header_bytes(reader: Reader, path: Path) -> tuple[int, bytes]:
    size, where = reader.size, str(path)
    if size < 8:
        raise WorkError(
            f"truncated: {size} bytes are too few for a safetensors file", where=where, fix=_AGAIN
        )
    (length,) = struct.unpack("<Q", reader.bytes(0, 8))
    if length > MAX_HEADER:
        raise WorkError(
            f"header length: {length} bytes is more than the {MAX_HEADER} that are allowed",
            where=where,
            fix=_AGAIN,
        )
    if length > size - 8:
        raise WorkError(
            f"truncated: the header takes {length} bytes, the file has {size - 8} after the length",
            where=where,
            fix=_AGAIN,
        )
    text = reader.bytes(8, length)
    if not text.startswith(b"{"):
        raise WorkError("not valid JSON: the header does not begin with {", where=where, fix=_AGAIN)
    return 8 + length, text


def _metadata(value: Any, path: Path) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise WorkError("__metadata__: expected texts by name", where=str(path), fix=_AGAIN)
    return value


def _entry(name: str, value: Any, path: Path, start: int, size: int) -> TensorInfo:
    def refuse(field_name: str, problem: str) -> WorkError:
        return WorkError(f"{field_name} of {short(name)}: {problem}", where=str(path), fix=_AGAIN)

    if not isinstance(value, dict):
        raise WorkError(f"{short(name)}: expected an object, found {kind(value)}", where=str(path))
    for key in ("dtype", "shape", "data_offsets"):
        if key not in value:
            raise refuse(key, "it is missing")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str):
        raise refuse("dtype", f"expected a text, found {kind(dtype)}")
    if dtype not in BITS:
        near = nearest(dtype[:80], BITS)
        raise refuse("dtype", f"unknown type {short(dtype)}" + (f"; near: {near}" if near else ""))
    if not _counts(shape):
        raise refuse("shape", "expected a list of whole numbers from 0 up")
    if len(shape) > MAX_DIMENSIONS:
        raise refuse("shape", f"{len(shape)} dimensions; at most {MAX_DIMENSIONS} are read")
    if max(shape, default=0) > _LARGEST or math.prod(n for n in shape if n) > _LARGEST:
        raise refuse("shape", "the number of elements overflows 64 bits")
    if dtype == "F4" and shape and shape[-1] % 2:
        raise refuse("shape", "the last dimension of F4 values must be even")
    if not _counts(offsets) or len(offsets) != 2:
        raise refuse("data_offsets", "expected two whole numbers from 0 up")
    begin, end = offsets
    if begin > end or end > size - start:
        raise refuse(
            "data_offsets", f"{_int(begin)} to {_int(end)} is outside the {size - start} bytes held"
        )
    try:
        needed = data_bytes(dtype, tuple(shape))
    except ValueError as error:
        raise refuse("shape", str(error)) from None
    if needed != end - begin:
        text = "x".join(map(str, shape)) or "a scalar"
        raise refuse("shape", f"{text} of {dtype} takes {needed} bytes, not {end - begin}")
    return TensorInfo(name, dtype, tuple(shape), path, start + begin, end - begin)


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def _int(value: int) -> str:
    # Numbers of thousands of digits are legal JSON and help nobody.
    return str(value) if value < 10**20 else "a number beyond 64 bits"
