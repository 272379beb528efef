"""Tensors beside each other in pieces, so that arithmetic on them needs little memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from tfcli.checkpoints.io.casting import PIECE as CAST_PIECE
from tfcli.checkpoints.io.casting import convert_into, raw_bytes, row_blocks, wide_scratch
from tfcli.checkpoints.io.file_tensor import FileTensor, Values, flat_pieces
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError

PIECE = 1 << 19
"""Elements that are looked at together. Their copies in fp32, 2 MB each, stay near the processor's
cache: pieces four times as large took up to twice the time."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch work in the calling thread alone: a piece is too small to divide.

    Two threads that meet after every piece took three times the processor's time of one, and more
    wall time wherever something else ran.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pieces(*tensors: Values) -> Iterator[tuple[Tensor, ...]]:
    """Walk through tensors of one shape side by side: flat, of at most PIECE elements.

    Each piece is valid until the next.
    """
    return zip(*(flat_pieces(tensor, PIECE) for tensor in tensors), strict=True)


def same_bits(one: Values, other: Values) -> bool:
    """Whether two tensors have the same type, shape and bits; NaN equals itself."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return all(_equal_bits(a, b) for a, b in pieces(one, other))


def same_after_cast(before: Values, after: Values) -> bool:
    """Whether `after` holds, bit for bit, what casting `before` to its type gives."""
    if before.shape != after.shape:
        return False
    if before.dtype == after.dtype:
        return same_bits(before, after)
    scratch, wide = torch.empty(CAST_PIECE, dtype=after.dtype), wide_scratch()
    for block, found in _side_by_side(before, after):
        expected = scratch[: block.numel()]
        convert_into(expected.view(block.shape), block, wide)
        if not _equal_bits(expected, found):
            return False
    return True


def _side_by_side(before: Values, after: Values) -> Iterator[tuple[Tensor, Tensor]]:
    if isinstance(before, FileTensor) or before.is_contiguous():
        yield from zip(flat_pieces(before, CAST_PIECE), flat_pieces(after, CAST_PIECE), strict=True)
        return
    # Blocks of any strides, so that no second whole tensor is made, are not all of one length.
    flat, at = (after() if isinstance(after, FileTensor) else after).reshape(-1), 0
    for block in row_blocks(before, CAST_PIECE):
        yield block, flat[at : at + block.numel()]
        at += block.numel()


def _equal_bits(one: Tensor, other: Tensor) -> bool:
    """Compare two flat tensors of one type: by numpy, and eight bytes at once where they can be
    taken so. torch takes twice as long for that, and six times as long byte by byte."""
    a, b = raw_bytes(one).numpy(), raw_bytes(other).numpy()
    if a.size % 8 == 0:
        a, b = a.view(np.int64), b.view(np.int64)
    return bool((a == b).all())


def is_finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite: one pass without memory; `isfinite` takes several."""
    return not tensor.numel() or all(bound.isfinite() for bound in tensor.aminmax())


def fill(target: Tensor, values: Tensor, name: str) -> None:
    """Round computed values into a piece of the tensor `name`, in the type of `target`.

    Raises:
        WorkError: a finite value becomes infinite, or a value is no number.
    """
    target.copy_(values)
    if is_finite(target):
        return
    largest = values.abs().max().item()
    if not math.isfinite(largest):
        raise WorkError(f"{short(name)}: the result is NaN or infinite")
    kind = str(target.dtype).removeprefix("torch.")
    raise WorkError(
        f"{short(name)}: {largest:g} is too large for {kind}", fix="choose the dtype bf16 or fp32"
    )
