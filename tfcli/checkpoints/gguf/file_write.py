"""Writing GGUF files: the header first, then one tensor at a time, whole or not at all."""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.gguf.header import ALIGNMENT, MAGIC
from tfcli.checkpoints.gguf.quants import encode, plain_dtype, require_writable
from tfcli.checkpoints.gguf.types import BY_NAME, VALUE_NUMBERS, VALUE_TYPES
from tfcli.checkpoints.io.casting import raw_bytes
from tfcli.checkpoints.io.disk import whole_file
from tfcli.checkpoints.io.sink import Sink
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError

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
    with whole_file(path, size) as sink:
        sink.write(header)
        for item in tensors:
            _write_tensor(sink, item, path)
    return size


def encode_header(metadata: Mapping[str, Value], tensors: Sequence[PendingGGUF]) -> bytes:
    """Everything before the data, padded to where the data begins.

    Raises:
        WorkError: a tensor's name stands twice or is too long.
    """
    out = [MAGIC, struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    for key, item in metadata.items():
        out += [_text(key), encode_value(key, item)]
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


def encode_value(key: str, item: Value) -> bytes:
    """A metadata value with its type, as it stands in the file.

    Raises:
        WorkError: it is no value of its type; names the key.
    """
    kind = item.kind
    if kind.startswith("array["):
        return b"".join([struct.pack("<I", VALUE_NUMBERS["array"]), *_array(kind, item.value)])
    number = VALUE_NUMBERS[kind]
    head = struct.pack("<I", number)
    if kind == "string":
        return head + _text(item.value)
    try:
        return head + struct.pack(f"<{VALUE_TYPES[number][1]}", item.value)
    except struct.error:
        raise WorkError(f"{key}: {item.value!r} is no {kind}") from None


def _array(kind: str, values: Sequence[Any]) -> list[bytes]:
    """The elements' type, their count, and they; of an array in an array the same again."""
    inner = kind[len("array[") : -1]
    name = inner.partition("[")[0]
    head = struct.pack("<IQ", VALUE_NUMBERS[name], len(values))
    if name == "string":
        return [head, *map(_text, values)]
    if name == "array":
        return [head, *(part for each in values for part in _array(inner, each))]
    return [head, array(VALUE_TYPES[VALUE_NUMBERS[name]][1], values).tobytes()]


def _write_tensor(sink: Sink, item: PendingGGUF, path: Path) -> None:
    import torch

    from tfcli.checkpoints.io.tensor_pieces import one_thread

    kind = BY_NAME[item.dtype]
    begin = sink.at
    for part in item.parts():
        values = part.detach().cpu()
        if values.dtype == torch.uint8 and not kind.plain:
            sink.write(raw_bytes(values).numpy().data)
            continue
        if not kind.plain or values.dtype != plain_dtype(kind):
            require_writable(item.dtype, item.width, item.name)
        if values.dim() and values.shape[-1] != item.width:
            raise WorkError(
                f"{short(item.name)} was to have rows of {item.width} elements, "
                f"its values have {values.shape[-1]}",
                where=str(path),
            )
        if kind.plain:
            with one_thread():
                sink.write_tensor(values, plain_dtype(kind), item.name)
            continue
        for piece in encode(values.reshape(-1, item.width), item.dtype, item.name):
            sink.write(piece)
    written = sink.at - begin
    if written != item.nbytes:
        raise WorkError(
            f"{short(item.name)} was to take {item.nbytes} bytes, its values take {written}",
            where=str(path),
        )
    sink.write(b"\0" * (-written % ALIGNMENT))
