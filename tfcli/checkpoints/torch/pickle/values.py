"""What a pickle is read into beside Python's plain data: names, records, places of tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tfcli.checkpoints.io.dtypes import BITS, TORCH_NAMES
from tfcli.checkpoints.io.header import MAX_DIMENSIONS
from tfcli.checkpoints.strict_json import short

_LARGEST = 2**63 - 1  # torch counts elements in signed 64 bits
_CODES = {f"torch.{name}": code for code, name in TORCH_NAMES.items()}
_UNTRUSTED = (
    "do not use the file unless you trust its source; then save its state_dict as safetensors "
    "with the library that wrote it"
)
_DAMAGED = "get the file again; it is damaged or was not written by torch.save"


class PickleRefusedError(ValueError):
    """Why a pickle is refused.

    Args:
        what: the offending thing.
        hostile: it is no damage: the pickle asks for something that weights do not need.
        fix: how to get rid of it, where that is known.
    """

    def __init__(self, what: str, *, hostile: bool = False, fix: str | None = None) -> None:
        self.what = what
        self.fix = fix or (_UNTRUSTED if hostile else _DAMAGED)
        super().__init__(what)


@dataclass(frozen=True, slots=True, eq=False)
class Global:
    """A name that a pickle may ask for.

    Args:
        name: module and name, with a dot between.
        call: our function that stands for a call of it, given the arguments; None for a mere
            value, such as a dtype.
        record: it is a class whose instances are read as records.
    """

    name: str
    call: Callable[[tuple[Any, ...]], Any] | None = None
    record: bool = False


@dataclass(slots=True, eq=False)
class Record:
    """An object of a class that is not loaded: what the pickle says of it, as plain data.

    Args:
        kind: the class, such as `argparse.Namespace`.
        args: what it was made of.
        state: its attributes, a dictionary in most cases.
        items: what was appended to it; pairs for a mapping.
    """

    kind: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute by name."""
        return self.state.get(name, default) if isinstance(self.state, dict) else default

    def __repr__(self) -> str:
        # Not the content: it may be large, and deep.
        return f"<{self.kind}>"


@dataclass(slots=True, eq=False)
class Storage:
    """A run of bytes that one tensor or several are views of.

    Args:
        key: its name in the file.
        dtype: the code of its elements; None when it is bytes and its tensors say their type.
        nbytes: its length in bytes.
        start: its place in the file, in bytes; legacy files tell it at the end.
        whole: the storage that this is a part of, as in old legacy files.
    """

    key: str
    dtype: str | None
    nbytes: int
    start: int = -1
    whole: Storage | None = None


@dataclass(slots=True, eq=False)
class StoredTensor:
    """Where a tensor's values are: a view of a storage, checked to lie inside of it.

    Args:
        storage: the bytes.
        dtype: the code, such as `BF16`.
        shape: dimensions, as torch counts them.
        stride: steps from one element to the next in each dimension, in elements.
        offset: the first element's place in the storage, in elements.
    """

    storage: Storage
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    @property
    def elements(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of one value as torch counts them; two F4 values are one."""
        return max(BITS[self.dtype] // 8, 1)

    @property
    def nbytes(self) -> int:
        """Bytes of all its values; not of the storage."""
        return self.elements * self.itemsize

    @property
    def start(self) -> int:
        """The first value's place in the file, in bytes."""
        return self.storage.start + self.offset * self.itemsize

    @property
    def extent(self) -> int:
        """From the first value in the storage to the last, in elements."""
        return extent(self.shape, self.stride)

    def __repr__(self) -> str:
        return f"<{self.dtype} tensor {list(self.shape)}>"


def extent(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """From the first element of a view to its last, in elements of its storage."""
    if 0 in shape:
        return 0
    return 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))


def stored_tensor(
    storage: Any,
    offset: Any,
    shape: Any,
    stride: Any,
    dtype: Any = None,
    metadata: Any = None,
) -> StoredTensor:
    """Check what a pickle says of a tensor.

    Args:
        dtype: a `Global` such as torch.float8_e5m2, for storages that are bytes.
        metadata: what `_rebuild_tensor_v2` may have as its last argument.

    Raises:
        PickleRefusedError: something of another kind, or a view that leaves its storage.
    """
    if type(storage) is not Storage:
        raise PickleRefusedError("a tensor is made of something else than a storage")
    code = storage.dtype
    if dtype is not None or code is None:
        code = _CODES.get(dtype.name) if isinstance(dtype, Global) else None
        if code is None:
            raise PickleRefusedError(f"a tensor's type is {dtype_name(dtype)}, which is not read")
    where = f"the tensor in storage {short(storage.key)}"
    if metadata:
        raise PickleRefusedError(f"{where} is a conjugate or negated view, which is not read")
    for name, value in (("shape", shape), ("stride", stride)):
        if type(value) is not tuple or len(value) > MAX_DIMENSIONS or not _counts(value):
            raise PickleRefusedError(f"{name} of {where}: expected at most {MAX_DIMENSIONS} counts")
    if not _counts((offset,)):
        raise PickleRefusedError(f"storage_offset of {where}: expected a whole number from 0 up")
    if len(shape) != len(stride):
        raise PickleRefusedError(
            f"stride of {where}: {len(stride)} numbers, shape has {len(shape)}"
        )
    if math.prod(n for n in shape if n) > _LARGEST:
        raise PickleRefusedError(f"shape of {where}: the number of elements overflows 64 bits")
    found = StoredTensor(storage, code, shape, _usual(shape, stride), offset)
    needed = (offset + found.extent) * found.itemsize if found.extent else 0
    if needed > storage.nbytes:
        raise PickleRefusedError(
            f"shape, stride and storage_offset of {where} reach byte {needed}, "
            f"it has {storage.nbytes}"
        )
    return found


def _usual(shape: tuple[int, ...], stride: tuple[int, ...]) -> tuple[int, ...]:
    """Strides with those of dimensions of one element, which mean nothing, as torch makes them."""
    usual: list[int] = []
    step = 1
    for size, given in zip(reversed(shape), reversed(stride), strict=True):
        usual.insert(0, step if size == 1 else given)
        step = usual[0] * size
    return tuple(usual)


def dtype_name(value: Any) -> str:
    """A type as an error shows it."""
    return short(value.name) if isinstance(value, Global) else f"a {type(value).__name__}"


def _counts(values: tuple[Any, ...]) -> bool:
    return all(type(n) is int and 0 <= n <= _LARGEST for n in values)
