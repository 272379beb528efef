"""Writing GGUF files: the header first, then one tensor at a time, whole or not at all."""

from __future__ import annotations

import errno
import math
import os
import struct
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.safetensors import require_space
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError
from tfcli.gguf.header import ALIGNMENT, MAGIC
from tfcli.gguf.quants import encode, require_writable
from tfcli.gguf.types import BY_NAME, VALUE_NUMBERS, VALUE_TYPES
from tfcli.units import format_bytes

if TYPE_CHECKING:
    from torch import Tensor

MAX_NAME = 63  # bytes, llama.cpp's limit


@dataclass(frozen=True)
class Value:
    """A metadata value with its type, such as `Value("uint32", 4)` or `Value("array[string]", x)`.

    Args:
        kind: a name of `VALUE_TYPES`, or `array[...]` of one.
        value: the number, truth, text, or sequence.
    """

    kind: str
    value: Any


@dataclass(frozen=True)
class PendingGGUF:
    """A tensor to be written: what the header needs now, the values when their turn comes.

    Args:
        name: the tensor's name.
        dtype: the type to write, as ggml spells it.
        shape: its dimensions, in elements, the slowest first.
        parts: gives the values as tensors that follow each other, each of whole rows; called
            once. Quantized bytes that are to stay as they are come as uint8.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    parts: Callable[[], Iterable[Tensor]]

    @property
    def width(self) -> int:
        """Elements of a row."""
        return self.shape[-1] if self.shape else 1

    @property
    def nbytes(self) -> int:
        """The bytes that the data takes in the file, without padding."""
        return math.prod(self.shape[:-1]) * BY_NAME[self.dtype].row_bytes(self.width)


def write_gguf(path: Path, metadata: Mapping[str, Value], tensors: Sequence[PendingGGUF]) -> int:
    """Write a file tensor by tensor, and rename it into place when it is whole and synced.

    Args:
        path: the file; replaced in one step when it exists.
        metadata: key -> value.
        tensors: what to write, in this order.

    Returns:
        The file's size in bytes.

    Raises:
        WorkError: a name that stands twice or is too long, values that differ from what was
            declared, no room on the disk, or the file cannot be written. Nothing is left behind.
    """
    header = encode_header(metadata, tensors)
    size = len(header) + sum(_padded(item.nbytes) for item in tensors)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        require_space(path.parent, size)
        with temporary.open("wb", buffering=0) as file:
            _write_all(file.fileno(), header)
            for item in tensors:
                _write_tensor(file.fileno(), item, path)
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise WorkError(
            f"cannot be written: {error.strerror}",
            where=str(path),
            fix=f"make room: the file takes {format_bytes(size)}" if full else None,
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return size


def encode_header(metadata: Mapping[str, Value], tensors: Sequence[PendingGGUF]) -> bytes:
    """Everything before the data, padded to where the data begins.

    Raises:
        WorkError: a tensor's name stands twice or is too long.
    """
    out = [MAGIC, struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    for key, item in metadata.items():
        out += [_text(key), *_value(key, item)]
    names: set[str] = set()
    position = 0
    for tensor in tensors:
        if tensor.name in names or len(tensor.name.encode()) > MAX_NAME:
            what = "stands twice" if tensor.name in names else f"has more than {MAX_NAME} bytes"
            raise WorkError(f"the tensor name {short(tensor.name)} {what}")
        names.add(tensor.name)
        dims = tuple(reversed(tensor.shape))
        number = BY_NAME[tensor.dtype].number
        out.append(_text(tensor.name))
        out.append(struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, number, position))
        position += _padded(tensor.nbytes)
    data = b"".join(out)
    return data + b"\0" * (-len(data) % ALIGNMENT)


def _padded(nbytes: int) -> int:
    return nbytes + -nbytes % ALIGNMENT


def _text(text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(data)) + data


def _value(key: str, item: Value) -> list[bytes]:
    kind = item.kind
    if kind.startswith("array["):
        inner = kind[len("array[") : -1]
        count = len(item.value)
        head = struct.pack("<IIQ", VALUE_NUMBERS["array"], VALUE_NUMBERS[inner], count)
        if inner == "string":
            return [head, *map(_text, item.value)]
        letter = VALUE_TYPES[VALUE_NUMBERS[inner]][1]
        return [head, array(letter, item.value).tobytes()]
    number = VALUE_NUMBERS[kind]
    head = struct.pack("<I", number)
    if kind == "string":
        return [head, _text(item.value)]
    try:
        return [head, struct.pack(f"<{VALUE_TYPES[number][1]}", item.value)]
    except struct.error:
        raise WorkError(f"{key}: {item.value!r} is no {kind}") from None


def _write_tensor(descriptor: int, item: PendingGGUF, path: Path) -> None:
    import torch

    kind = BY_NAME[item.dtype]
    written = 0
    for part in item.parts():
        values = part.detach().cpu()
        if values.dtype == torch.uint8 and not kind.plain:
            pieces: Iterable[memoryview] = [values.contiguous().reshape(-1).numpy().data]
        else:
            require_writable(item.dtype, item.width, item.name)
            if values.dim() and values.shape[-1] != item.width:
                raise WorkError(
                    f"{short(item.name)} was to have rows of {item.width} elements, "
                    f"its values have {values.shape[-1]}",
                    where=str(path),
                )
            pieces = encode(values.reshape(-1, item.width), item.dtype, item.name)
        for piece in pieces:
            _write_all(descriptor, piece)
            written += piece.nbytes
    if written != item.nbytes:
        raise WorkError(
            f"{short(item.name)} was to take {item.nbytes} bytes, its values take {written}",
            where=str(path),
        )
    _write_all(descriptor, b"\0" * (-written % ALIGNMENT))


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    # One write call moves at most 2 GiB on Linux, and may stop earlier when the disk fills.
    left = memoryview(data).cast("B")
    while left:
        left = left[os.write(descriptor, left) :]
