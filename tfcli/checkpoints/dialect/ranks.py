"""The parts of tensor-parallel ranks: joined for a dialect's rules, and divided after them.

A container's reader opens the parts and joins them; its writer divides a plan and writes the parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tfcli.checkpoints.checkpoint import TensorEntry
from tfcli.checkpoints.dialect.dialect import Dialect, Layout
from tfcli.checkpoints.dialect.pieces import Pieces, narrow
from tfcli.checkpoints.dialect.steps import length_along
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.plan import Plan
from tfcli.checkpoints.strict_json import short
from tfcli.errors import UsageError, WorkError

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
    first = next(iter(parts.values()))
    for path, part in parts.items():
        odd = sorted(part.keys() ^ first.keys())
        if odd:
            raise WorkError(f"{short(odd[0])} is not in every part", where=str(path), fix=_MISSING)
    layouts = dialect.layouts(config)
    whole = {}
    try:
        for name, tensor in first.items():
            layout = layouts.get(dialect.spelt(name))
            held = [part[name] for part in parts.values()]
            whole[name] = tensor if layout is None else _whole(held, layout)
        return dialect.to_hf(whole, config)
    except WorkError as error:
        where = error.where or str(next(iter(parts)))
        raise WorkError(error.what, where=where, fix=error.fix) from None


def divide(plan: Plan, dialect: Dialect, count: int) -> list[list[PendingTensor]]:
    """What is written for each rank. Nothing is read.

    Args:
        plan: in Hugging Face's terms.
        dialect: whose names are written.
        count: of ranks.

    Raises:
        UsageError: ranks that do not divide a tensor; names it.
        WorkError: as `Dialect.from_hf`.
    """
    planned = {item.tensor.name: item.as_tensor() for item in plan.written}
    stored = dialect.from_hf(planned, plan.config).values()
    layouts = dialect.layouts(plan.config)
    shares = [_shares(tensor, layouts[tensor.name], count) for tensor in stored]
    return [
        [PendingTensor(one.name, one.dtype, one.shape, one.read) for one in rank]
        for rank in zip(*shares, strict=True)
    ]


def require_whole_heads(config: Any, count: int) -> None:
    """Refuse ranks that heads of attention cannot be given out to.

    Raises:
        UsageError: names both numbers.
    """
    heads = config.num_attention_heads
    counts = dict.fromkeys((heads, config.num_key_value_heads or heads))
    if count < 1 or any(heads % count for heads in counts):
        shown = " and ".join(map(str, counts))
        raise UsageError(f"{count} parts do not divide {shown} heads", where="parts")


def _whole(held: Sequence[TensorEntry], layout: Layout) -> TensorEntry:
    first, count = held[0], len(held)
    if len({(part.dtype, part.shape) for part in held}) > 1:
        kinds = ", ".join(f"{part.dtype} {list(part.shape)}" for part in held[:4])
        raise WorkError(f"{short(first.name)} differs between the parts: {kinds}", fix=_MISSING)
    dim = _joined_along(first, layout, count)
    if count == 1:
        return first
    if dim is None:
        return replace(first, how=f"the first of {count} copies")
    shape = _longer(first, dim, count)
    reads, lengths, at = [], [], 0
    for block in layout.within or (shape[dim],):
        length = block // count
        reads += [partial(narrow, part.read, dim, at, length) for part in held]
        lengths += [length] * count
        at += length
    how = f"{count} parts joined along dimension {dim}"
    return replace(first, shape=shape, how=how, read=Pieces(tuple(reads), tuple(lengths), dim))


def _joined_along(part: TensorEntry, layout: Layout, count: int) -> int | None:
    """The dimension with which parts fit the config; None for copies."""
    blocks = layout.within
    for dim in layout.dims or (None,):
        shape = part.shape if dim is None else _longer(part, dim, count)
        fits = dim is None or not blocks or sum(blocks) == shape[dim]
        if layout.shape in (None, shape) and fits and not any(n % count for n in blocks):
            return dim
    asked = f"{' + '.join(map(str, blocks))} along dimension {layout.dims[0]}" if blocks else ""
    raise WorkError(
        f"{short(part.name)} is {list(part.shape)} in {count} parts; the config asks for "
        f"{asked or list(layout.shape or ())}",
        fix=_MISSING,
    )


def _shares(tensor: TensorEntry, layout: Layout, count: int) -> list[TensorEntry]:
    """What each rank has of a whole tensor."""
    if not layout.dims or count == 1:
        return [tensor] * count
    dim = layout.dims[0]
    blocks = layout.within or (length_along(tensor, dim),)
    for length in blocks:
        if length % count:
            raise UsageError(
                f"{count} parts do not divide {length}, in {short(tensor.name)} of "
                f"{list(tensor.shape)}",
                where="parts",
            )
    lengths = tuple(length // count for length in blocks)
    shape = (*tensor.shape[:dim], sum(lengths), *tensor.shape[dim + 1 :])
    found = []
    for rank in range(count):
        reads, at = [], 0
        for length in lengths:
            reads.append(partial(narrow, tensor.read, dim, at + rank * length, length))
            at += length * count
        found.append(replace(tensor, shape=shape, read=Pieces(tuple(reads), lengths, dim)))
    return found


def _longer(part: TensorEntry, dim: int, count: int) -> tuple[int, ...]:
    length = length_along(part, dim) * count
    return (*part.shape[:dim], length, *part.shape[dim + 1 :])
