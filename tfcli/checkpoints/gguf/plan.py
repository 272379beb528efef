"""Which tensors of a checkpoint become which tensors of a GGUF file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.dialect.pieces import in_turn, largest_part
from tfcli.checkpoints.gguf.choose import TypeOf
from tfcli.checkpoints.gguf.file_write import Value
from tfcli.checkpoints.gguf.own_keys import REMAINDER
from tfcli.checkpoints.gguf.packed import ROWS, PackedRows, type_and_shape, with_packed
from tfcli.checkpoints.gguf.rules import GGUFDialect
from tfcli.checkpoints.gguf.types import BY_NAME
from tfcli.checkpoints.io.dtypes import FLOATS
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Target:
    """A tensor of a GGUF file and what it is made of.

    Args:
        name: in GGUF.
        dtype: the type to write.
        shape: in elements, the slowest dimension first.
        sources: the stored tensors in it, in the order of a stack.
        source_dtype: their type.
        action: `copied` bit for bit, `converted` to another type, `made` by a computation, or
            `quantized` before it came here.
        how: what is done to their values; empty where they are taken as they are.
        note: why the type is not the one that was asked for; empty where it is.
        part_bytes: the largest of `parts`, in bytes.
        parts: gives what is written, in order: values, or the bytes of quantized rows (uint8) that
            came as they are. May be called again.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    sources: tuple[str, ...]
    source_dtype: str
    action: Literal["copied", "converted", "made", "quantized"]
    how: str
    note: str
    part_bytes: int
    parts: Callable[[], Iterable[Tensor]]

    @property
    def width(self) -> int:
        """Elements of a row."""
        return self.shape[-1] if self.shape else 1

    @property
    def nbytes(self) -> int:
        """The bytes of its data."""
        return math.prod(self.shape[:-1]) * BY_NAME[self.dtype].row_bytes(self.width)

    @property
    def kept(self) -> bool:
        """Whether `parts` are the bytes of quantized rows."""
        return self.action in ("copied", "quantized") and not BY_NAME[self.dtype].plain


@dataclass(frozen=True)
class ToGGUF:
    """A GGUF file that is planned: headers were read, values were not.

    Args:
        path: the source.
        targets: what is written, in order.
        metadata: the file's keys, but for those that depend on values.
        late: gives these.
        skipped: tensor of the source -> why it is not written.
        notes: what the user should know.
    """

    path: Path
    targets: list[Target]
    metadata: dict[str, Value]
    late: Callable[[], dict[str, Value]]
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """The bytes of all tensors in the file."""
        return sum(target.nbytes for target in self.targets)

    @property
    def largest(self) -> int:
        """The bytes of the largest tensor that is in memory at once."""
        return max((target.part_bytes for target in self.targets), default=0)


@dataclass(frozen=True)
class Plan:
    """Where the tensors of a checkpoint go.

    Args:
        targets: what is written, in order.
        skipped: Hugging Face name -> why it is not.
        remainders: by key: what rounding takes from tensors that are stored plus one.
        bare: the names lack the body's prefix.
        tied: the output matrix is stored although it is the embedding.
    """

    targets: list[Target]
    skipped: dict[str, str]
    remainders: dict[str, TensorEntry]
    bare: bool
    tied: bool


def plan_targets(
    view: Checkpoint,
    dialect: GGUFDialect,
    choose: TypeOf,
    packed: Mapping[str, PackedRows] | None = None,
) -> Plan:
    """Give every tensor of a checkpoint its place.

    Args:
        view: the checkpoint.
        dialect: its family's.
        choose: the type of each tensor.
        packed: by Hugging Face's name, what is quantized already, whatever `choose` says.

    Raises:
        WorkError: a tensor that has none, one that is missing, or one that has no plain numbers.
    """
    where, packed = str(view.path), packed or {}
    tied = dialect.head in view.tied
    held = with_packed(view, packed).tensors
    tensors = {n: t for n, t in held.items() if not tied or n != dialect.head}
    skipped = dialect.left_unwritten(tensors)
    for name, tensor in tensors.items():
        if name not in skipped and name not in packed and tensor.dtype not in FLOATS:
            raise WorkError(
                f"{short(name)} holds {tensor.dtype} values, no plain numbers",
                where=where,
                fix="dequantize the checkpoint first",
            )
    try:
        whole = dialect.with_prefix(tensors, view.config)
        stored = dialect.from_hf(whole, view.config)
    except WorkError as error:
        raise WorkError(error.what, where=where, fix=error.fix) from None
    if tied:
        skipped[str(dialect.head)] = "is the embedding, which stands for it"
    return Plan(
        [
            _packed_target(one, packed) if one.dtype == ROWS else _target(one, choose)
            for name, one in stored.items()
            if not name.startswith(REMAINDER)
        ],
        skipped,
        {name: one for name, one in stored.items() if name.startswith(REMAINDER)},
        bare=not any(name.startswith(dialect.prefix) for name in view.tensors),
        tied=tied,
    )


def _target(tensor: TensorEntry, choose: TypeOf) -> Target:
    name, shape = tensor.name, tensor.shape
    dtype, note = choose(name, len(shape), shape[-1] if shape else 1)
    held = tensor.stored or tensor.dtype
    return Target(
        name,
        dtype,
        shape,
        tensor.sources,
        held,
        "made" if tensor.how else "copied" if held == dtype else "converted",
        tensor.how,
        note,
        largest_part(tensor),
        partial(in_turn, tensor),
    )


def _packed_target(tensor: TensorEntry, packed: Mapping[str, PackedRows]) -> Target:
    kind, shape = type_and_shape(tensor, packed)
    return Target(
        tensor.name,
        kind,
        shape,
        tensor.sources,
        kind,
        "quantized",
        tensor.how,
        "",
        largest_part(tensor),
        partial(in_turn, tensor),
    )
