"""What can be between stored tensors and those of Hugging Face: steps that lose nothing.

A step makes tensors of tensors, and its `inverse` makes the first ones again, bit for bit. Shapes
and types are settled at once; values are made when they are read. `Trim` alone leaves something
out, rows that no model uses, and its inverse fills them up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from tfcli.checkpoints.checkpoint import TensorEntry
from tfcli.checkpoints.dialect.pieces import Pieces, Read, entry_of, narrow, part_of
from tfcli.checkpoints.dialect.rotary_rows import to_halves, to_pairs
from tfcli.checkpoints.io.dtypes import torch_dtype
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError

if TYPE_CHECKING:
    from torch import Tensor

Size = str | int
"""A number of rows or columns, or the name of one that the config gives."""


class Step(Protocol):
    """One change of some tensors, with a way back."""

    def apply(self, tensors: Sequence[TensorEntry], sizes: Mapping[str, int]) -> list[TensorEntry]:
        """The tensors that it makes; `sizes` are those of the checkpoint's config.

        Raises:
            WorkError: a number of tensors, a shape or a type that it is not made for.
        """

    def inverse(self) -> Step:
        """The step that takes these back."""


@dataclass(frozen=True)
class _Parts:
    """Parts of a tensor along a dimension.

    Args:
        dim: which.
        sizes: the length of each part.
        groups: the parts lie together so many times, and `sizes` are those of one group.
    """

    dim: int
    sizes: tuple[Size, ...]
    groups: Size = 1


class Split(_Parts):
    """One tensor is cut into several along a dimension."""

    def apply(self, tensors: Sequence[TensorEntry], sizes: Mapping[str, int]) -> list[TensorEntry]:
        (whole,) = _exactly(1, tensors)
        groups = number_of(self.groups, sizes)
        lengths = [number_of(size, sizes) for size in self.sizes]
        times = f"{groups} times " if groups > 1 else ""
        shown = times + " + ".join(map(str, lengths))
        _require_length(whole, self.dim, groups * sum(lengths), shown)
        parts, at = [], 0
        for number, length in enumerate(lengths, start=1):
            how = f"part {number} of {len(lengths)} along dimension {self.dim}"
            read = part_of(whole.read, self.dim, at, length)
            if groups > 1:
                how += f" in each of {groups} groups"
                read = partial(_of_groups, whole.read, self.dim, groups, at, length)
            shape = _with_length(whole, self.dim, groups * length)
            parts.append(replace(whole, shape=shape, how=_then(whole.how, how), read=read))
            at += length
        return parts

    def inverse(self) -> Fuse:
        return Fuse(self.dim, self.sizes, self.groups)


class Fuse(_Parts):
    """Several tensors are joined along a dimension."""

    def apply(self, tensors: Sequence[TensorEntry], sizes: Mapping[str, int]) -> list[TensorEntry]:
        groups = number_of(self.groups, sizes)
        parts = _exactly(len(self.sizes), tensors)
        for part, size in zip(parts, self.sizes, strict=True):
            _require_length(part, self.dim, groups * number_of(size, sizes))
        lengths = tuple(part.shape[self.dim] for part in parts)
        shape = _with_length(parts[0], self.dim, sum(lengths))
        others = {_with_length(part, self.dim, 0) for part in parts}
        how = f"{len(parts)} joined along dimension {self.dim}"
        if groups == 1:
            pieces = Pieces(tuple(part.read for part in parts), lengths, self.dim)
            return [_joined(parts, shape, how, others, pieces)]
        read = partial(_in_groups, parts, self.dim, groups, shape)
        return [_joined(parts, shape, f"{how} in {groups} groups", others, read)]

    def inverse(self) -> Split:
        return Split(self.dim, self.sizes, self.groups)


@dataclass(frozen=True)
class Stack:
    """Several tensors of one shape, such as experts, become one with a new first dimension."""

    def apply(self, tensors: Sequence[TensorEntry], sizes: Mapping[str, int]) -> list[TensorEntry]:
        shapes = {tensor.shape for tensor in tensors}
        shape = (len(tensors), *tensors[0].shape)
        reads = tuple(partial(_as_one, tensor.read) for tensor in tensors)
        pieces = Pieces(reads, (1,) * len(reads))
        return [_joined(tensors, shape, f"{len(tensors)} stacked", shapes, pieces)]

    def inverse(self) -> Unstack:
        return Unstack()


@dataclass(frozen=True)
class Unstack:
    """One tensor becomes those that its first dimension counts."""

    def apply(self, tensors: Sequence[TensorEntry], sizes: Mapping[str, int]) -> list[TensorEntry]:
        (whole,) = _exactly(1, tensors)
        count = length_along(whole, 0)
        return [
            replace(
                whole,
                shape=whole.shape[1:],
                how=_then(whole.how, f"{number + 1} of a stack of {count}"),
                read=entry_of(whole.read, number),
            )
            for number in range(count)
        ]

    def inverse(self) -> Stack:
        return Stack()


@dataclass(frozen=True)
class _Filled:
    """Rows with which an embedding is filled up after those of the vocabulary.

    Args:
        rows: of the vocabulary.
        filled: how many there are with the others, where they are written; any number is read.
    """

    rows: Size
    filled: Size


class Trim(_Filled):
    """Rows with which an embedding is filled up are left out."""

    def apply(self, tensors: Sequence[TensorEntry], sizes: Mapping[str, int]) -> list[TensorEntry]:
        (whole,) = _exactly(1, tensors)
        rows, held = number_of(self.rows, sizes), length_along(whole, 0)
        if held < rows:
            raise WorkError(f"{_shown(whole)}; the config asks for {rows} rows")
        if held == rows:
            return [whole]
        how, read = f"the first {rows} rows", part_of(whole.read, 0, 0, rows)
        shape = _with_length(whole, 0, rows)
        return [replace(whole, shape=shape, how=_then(whole.how, how), read=read)]

    def inverse(self) -> Fill:
        return Fill(self.rows, self.filled)


class Fill(_Filled):
    """The inverse of `Trim`: the last row is repeated, as Megatron's tools do."""

    def apply(self, tensors: Sequence[TensorEntry], sizes: Mapping[str, int]) -> list[TensorEntry]:
        (whole,) = _exactly(1, tensors)
        rows, filled = number_of(self.rows, sizes), number_of(self.filled, sizes)
        _require_length(whole, 0, rows)
        if filled == rows:
            return [whole]
        more = partial(_last_row, whole.read, rows, filled - rows)
        how, read = f"filled up to {filled} rows", Pieces((whole.read, more), (rows, filled - rows))
        shape = _with_length(whole, 0, filled)
        return [replace(whole, shape=shape, how=_then(whole.how, how), read=read)]

    def inverse(self) -> Trim:
        return Trim(self.rows, self.filled)


@dataclass(frozen=True)
class Permute:
    """The dimensions come in another order; (1, 0) transposes a matrix.

    Args:
        dims: for each dimension of the result, which one of the source it is.
    """

    dims: tuple[int, ...]

    def apply(self, tensors: Sequence[TensorEntry], sizes: Mapping[str, int]) -> list[TensorEntry]:
        def change(tensor: TensorEntry) -> TensorEntry:
            if len(tensor.shape) != len(self.dims):
                raise WorkError(f"{_shown(tensor)}, expected {len(self.dims)} dimensions")
            shape = tuple(tensor.shape[dim] for dim in self.dims)
            how = "transposed" if self.dims == (1, 0) else f"dimensions {list(self.dims)}"
            read = partial(_permuted, tensor.read, self.dims)
            return replace(tensor, shape=shape, how=_then(tensor.how, how), read=read)

        return [change(tensor) for tensor in tensors]

    def inverse(self) -> Permute:
        back = sorted(range(len(self.dims)), key=self.dims.__getitem__)
        return Permute(tuple(back))


@dataclass(frozen=True)
class Rotary:
    """The rows of each head of queries or keys come in the other order of `rotary_rows`.

    Args:
        head_dim: values of a head.
        to: `halves` is Hugging Face's order.
    """

    head_dim: Size
    to: str = "halves"

    def apply(self, tensors: Sequence[TensorEntry], sizes: Mapping[str, int]) -> list[TensorEntry]:
        head_dim = number_of(self.head_dim, sizes)
        order = to_halves if self.to == "halves" else to_pairs

        def change(tensor: TensorEntry) -> TensorEntry:
            if head_dim % 2 or length_along(tensor, 0) % head_dim:
                raise WorkError(f"{_shown(tensor)}, no whole heads of {head_dim} rows")
            read = partial(_reordered, tensor.read, order, head_dim)
            how = f"rotary rows to {self.to}"
            return replace(tensor, how=_then(tensor.how, how), read=read)

        return [change(tensor) for tensor in tensors]

    def inverse(self) -> Rotary:
        return replace(self, to="pairs" if self.to == "halves" else "halves")


@dataclass(frozen=True)
class _Sum:
    """Values and their float32 sums with a number.

    Args:
        number: which.
    """

    number: int = 1


class Less(_Sum):
    """Values, of their sums and of what rounding took from these.

    They are float64 until they are cast to their own type, which then has every bit again.
    """

    def apply(self, tensors: Sequence[TensorEntry], sizes: Mapping[str, int]) -> list[TensorEntry]:
        whole, lost = _exactly(2, tensors)
        if whole.shape != lost.shape:
            raise WorkError(f"{_shown(whole)}, and what was lost of it {list(lost.shape)}")
        return [
            replace(
                whole,
                dtype="F64",
                sources=(*whole.sources, *lost.sources),
                how=_then(whole.how, f"less {self.number}"),
                read=partial(_less, whole.read, lost.read, self.number),
                stored=whole.stored or whole.dtype,
            )
        ]

    def inverse(self) -> More:
        return More(self.number)


class More(_Sum):
    """The inverse of `Less`: the sums, and what rounding took from them, mostly 0."""

    def apply(self, tensors: Sequence[TensorEntry], sizes: Mapping[str, int]) -> list[TensorEntry]:
        (less,) = _exactly(1, tensors)
        how, held = f"more by {self.number}", less.stored or less.dtype
        reads = (partial(_more, less.read, self.number), partial(_lost, less.read, self.number))
        return [
            replace(less, dtype="F32", how=_then(less.how, how), read=read, stored=held)
            for read in reads
        ]

    def inverse(self) -> Less:
        return Less(self.number)


def _exactly(count: int, tensors: Sequence[TensorEntry]) -> Sequence[TensorEntry]:
    if len(tensors) != count:
        names = ", ".join(short(tensor.name) for tensor in tensors)
        raise WorkError(f"{names}: expected {count} tensors, found {len(tensors)}")
    return tensors


def _shown(tensor: TensorEntry) -> str:
    return f"{short(tensor.name)} is {list(tensor.shape)}"


def number_of(size: Size, sizes: Mapping[str, int]) -> int:
    """A size as a number."""
    return sizes[size] if isinstance(size, str) else size


def length_along(tensor: TensorEntry, dim: int) -> int:
    """How long a tensor is; an error if it has no such dimension."""
    if dim >= len(tensor.shape):
        raise WorkError(f"{_shown(tensor)}, it has no dimension {dim}")
    return tensor.shape[dim]


def _require_length(tensor: TensorEntry, dim: int, wanted: int, shown: str = "") -> None:
    if length_along(tensor, dim) != wanted:
        raise WorkError(f"{_shown(tensor)}; dimension {dim} should be {shown or wanted}")


def _with_length(tensor: TensorEntry, dim: int, length: int) -> tuple[int, ...]:
    return (*tensor.shape[:dim], length, *tensor.shape[dim + 1 :])


def _then(before: str, how: str) -> str:
    return f"{before}, {how}" if before else how


def _joined(
    parts: Sequence[TensorEntry],
    shape: tuple[int, ...],
    how: str,
    shapes: set[tuple[int, ...]],
    read: Read,
) -> TensorEntry:
    """One tensor of several; `shapes` of the parts must agree, and so must their types."""
    if len(shapes) > 1 or len({part.dtype for part in parts}) > 1:
        held = ", ".join(f"{part.dtype} {list(part.shape)}" for part in parts[:4])
        raise WorkError(f"{short(parts[0].name)} and what it is joined with do not fit: {held}")
    inner = next((part.how for part in parts if part.how), "")
    return replace(
        parts[0],
        shape=shape,
        sources=tuple(dict.fromkeys(name for part in parts for name in part.sources)),
        how=_then(inner, how),
        read=read,
    )


def _as_one(read: Read) -> Tensor:
    return read().unsqueeze(0)


def _permuted(read: Read, dims: tuple[int, ...]) -> Tensor:
    return read().permute(dims)


def _reordered(read: Read, order: Callable[[Tensor, int], Tensor], head_dim: int) -> Tensor:
    rows = read()
    return order(rows, head_dim).reshape(rows.shape)


def _of_groups(read: Read, dim: int, groups: int, start: int, length: int) -> Tensor:
    grouped = read().unflatten(dim, (groups, -1))
    return grouped.narrow(dim + 1, start, length).flatten(dim, dim + 1)


def _in_groups(parts: Sequence[TensorEntry], dim: int, groups: int, shape: Sequence[int]) -> Tensor:
    import torch

    dtype = torch_dtype(parts[0].dtype)
    whole, at = torch.empty(shape, dtype=dtype).unflatten(dim, (groups, -1)), 0
    for part in parts:
        length = part.shape[dim] // groups
        rows = whole.narrow(dim + 1, at, length)
        rows.copy_(part.read().unflatten(dim, (groups, -1)))  # never two parts beside the whole
        at += length
    return whole.flatten(dim, dim + 1)


def _last_row(read: Read, length: int, count: int) -> Tensor:
    last = narrow(read, 0, length - 1, 1)
    return last.expand(count, *last.shape[1:])


def _less(whole: Read, lost: Read, number: int) -> Tensor:
    return whole().double() - number + lost().double()


def _more(read: Read, number: int) -> Tensor:
    return read().float() + number


def _lost(read: Read, number: int) -> Tensor:
    """Exact in float32, as the error of a sum always is (Knuth's TwoSum)."""
    values = read()
    whole = (values.float() + number).double()
    return (values.double() - (whole - number)).float()
