"""The parts of tensor-parallel ranks: joined for a dialect's rules, and divided after them.

A container's reader opens the parts and joins them; its writer divides a plan and writes the parts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tfcli.checkpoints.checkpoint import TensorEntry
from tfcli.checkpoints.dialect.dialect import Dialect
from tfcli.checkpoints.dialect.pieces import Pieces, Read, part_of
from tfcli.checkpoints.dialect.rules import Cut, Layout
from tfcli.checkpoints.dialect.steps import length_along
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.strict_json import short
from tfcli.errors import UsageError, WorkError

_COPIES: Layout = (None, None)
_MISSING = "get the whole folder: every part is needed"


def join(
    parts: Mapping[Path, Mapping[str, TensorEntry]], dialect: Dialect, config: Mapping[str, Any]
) -> dict[str, TensorEntry]:
    """Hugging Face's tensors of what all ranks hold.

    A tensor of a single part is passed on as it is, and of one that each rank has a copy of the
    first is.

    Args:
        parts: file of a rank -> its tensors by their stored names, in the order of the ranks.
        dialect: whose names these are.
        config: the content of config.json.

    Raises:
        WorkError: parts with other tensors or shapes than the rest, or as `Dialect.to_hf`; names
            the first file.
    """
    require_same_names(parts)
    first = next(iter(parts.values()))
    layouts = dialect.layouts(config)
    whole = {}
    try:
        for name, tensor in first.items():
            layout = layouts.get(dialect.spelt(name))
            held = [part[name] for part in parts.values()]
            whole[name] = tensor if layout is None else whole_of(held, *layout)
        return dialect.to_hf(whole, config)
    except WorkError as error:
        where = error.where or str(next(iter(parts)))
        raise WorkError(error.what, where=where, fix=error.fix) from None


def divide(
    tensors: Mapping[str, TensorEntry], dialect: Dialect, config: Mapping[str, Any], count: int
) -> list[list[PendingTensor]]:
    """What is written for each rank. Nothing is read.

    Args:
        tensors: in Hugging Face's terms, in the types that are written.
        dialect: whose names are written.
        config: the content of config.json.
        count: of ranks.

    Raises:
        UsageError: ranks that do not divide a tensor; names it.
        WorkError: as `Dialect.from_hf`.
    """
    layouts, shares = dialect.layouts(config), []
    for one in dialect.from_hf(tensors, config).values():
        pending = PendingTensor(one.name, one.dtype, one.shape, one.read)
        shares.append(shares_of(pending, layouts.get(one.name, _COPIES)[0], count))
    return [list(rank) for rank in zip(*shares, strict=True)]


def require_same_names(parts: Mapping[Path, Collection[str]]) -> None:
    """Refuse files of ranks that do not hold the same tensors.

    Raises:
        WorkError: names a tensor and the file that it tells from the first.
    """
    first = set(next(iter(parts.values())))
    for path, names in parts.items():
        odd = sorted(first.symmetric_difference(names))
        if odd:
            raise WorkError(f"{short(odd[0])} is not in every part", where=str(path), fix=_MISSING)


def require_whole_heads(count: int, *heads: int) -> None:
    """Refuse ranks that heads of attention cannot be given out to.

    Raises:
        UsageError: names both numbers.
    """
    if count < 1 or any(one % count for one in heads):
        shown = " and ".join(map(str, dict.fromkeys(heads)))
        raise UsageError(f"{count} parts do not divide {shown} heads", where="parts")


def whole_of(
    held: Sequence[TensorEntry], cut: Cut | None, wanted: tuple[int, ...] | None = None
) -> TensorEntry:
    """A stored tensor of the parts that ranks hold.

    Args:
        held: the parts, in the order of the ranks.
        cut: how ranks divide it; None: the first copy is taken.
        wanted: its shape, if that is known.

    Raises:
        WorkError: parts that do not belong together; names the tensor.
    """
    first, count = held[0], len(held)
    if len({(part.dtype, part.shape) for part in held}) > 1:
        kinds = ", ".join(f"{part.dtype} {list(part.shape)}" for part in held[:4])
        raise WorkError(f"{short(first.name)} differs between the parts: {kinds}", fix=_MISSING)
    shapes: dict[int | None, tuple[int, ...]] = {None: first.shape}
    if cut is not None:
        dims = [dim for dim in (cut.dim, cut.other) if dim is not None]
        shapes = {dim: _longer(first, dim, cut.blocks, count) for dim in dims}
    dim = next((dim for dim, shape in shapes.items() if wanted in (None, shape)), -1)
    if dim == -1:
        raise WorkError(
            f"{short(first.name)} is {list(first.shape)} in {count} parts; the config asks for "
            f"{list(wanted or ())}",
            fix=_MISSING,
        )
    if count == 1:
        return first
    if cut is None or dim is None:
        return replace(first, how=f"the first of {count} copies")
    read = pieces_of([part.read for part in held], first.shape[dim], dim, cut.blocks)
    how = f"{count} parts joined along dimension {dim}"
    return replace(first, shape=shapes[dim], how=how, read=read)


def pieces_of(parts: Sequence[Read], length: int, dim: int, blocks: int) -> Pieces:
    """Reads parts as one: of each block what every part has of it.

    Args:
        parts: make the parts' values, in the order of the ranks.
        length: of a part along `dim`.
        dim: that is cut.
        blocks: of a part.
    """
    each = length // blocks
    reads = [part_of(read, dim, at * each, each) for at in range(blocks) for read in parts]
    return Pieces(tuple(reads), (each,) * len(reads), dim)


def shares_of(whole: PendingTensor, cut: Cut | None, count: int) -> list[PendingTensor]:
    """What each rank has of a whole tensor.

    Raises:
        UsageError: ranks that do not divide it; names it.
    """
    if cut is None or count == 1:
        return [whole] * count
    shape, dim = whole.shape, cut.dim
    block = shape[dim] // cut.blocks if dim < len(shape) else 0
    if not block or shape[dim] % cut.blocks or block % count:
        raise UsageError(
            f"{count} parts do not divide {block}, in {short(whole.name)} of {list(shape)}",
            where="parts",
        )
    each, found = block // count, []
    for rank in range(count):
        starts = [at * block + rank * each for at in range(cut.blocks)]
        reads = tuple(part_of(whole.read, dim, start, each) for start in starts)
        read = Pieces(reads, (each,) * cut.blocks, dim)
        lengths = (*shape[:dim], each * cut.blocks, *shape[dim + 1 :])
        found.append(replace(whole, shape=lengths, read=read))
    return found


def _longer(part: TensorEntry, dim: int, blocks: int, count: int) -> tuple[int, ...]:
    length = length_along(part, dim)
    if length % blocks:
        raise WorkError(
            f"{short(part.name)} is {list(part.shape)}; dimension {dim} is no {blocks} equal blocks"
        )
    return (*part.shape[:dim], length * count, *part.shape[dim + 1 :])
