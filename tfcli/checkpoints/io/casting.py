"""Tensors in another type: piece by piece, and without losing a value to infinity."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PIECE = 1 << 18
"""Elements that are cast at once: a piece and its source stay in a core's cache. Pieces eight times
as large took up to 1.7 times as long."""


def cast(tensor: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    """A tensor in another type; the tensor itself when it has that type.

    Raises:
        WorkError: a finite value becomes infinite; names the tensor and its largest value.
    """
    import torch

    if tensor.dtype == dtype:
        return tensor
    result, wide = torch.empty(tensor.shape, dtype=dtype), wide_scratch()
    flat, at = result.view(-1), 0
    for piece in row_blocks(tensor, PIECE):
        cast_into(flat[at : at + piece.numel()].view(piece.shape), piece, wide, name)
        at += piece.numel()
    return result


def cast_into(target: Tensor, piece: Tensor, wide: Tensor, name: str) -> None:
    """Fill `target` with a piece of the tensor `name`, in the type of `target`.

    Args:
        target (Tensor): contiguous, at most PIECE elements.
        piece (Tensor): of the same shape, of any strides.
        wide (Tensor): from `wide_scratch`.
        name: for the error.

    Raises:
        WorkError: as `cast`.
    """
    convert_into(target, piece, wide)
    if target.dtype != piece.dtype and target.is_floating_point():
        _require_finite(piece, target, name)


def convert_into(target: Tensor, piece: Tensor, wide: Tensor) -> None:
    """The same without a look at what became infinite."""
    import torch

    if {target.dtype, piece.dtype} == {torch.float16, torch.bfloat16}:
        # From one half type to the other torch takes three times as long as by way of float32.
        middle = wide[: piece.numel()].view(piece.shape)
        target.copy_(middle.copy_(piece))
    else:
        target.copy_(piece)


def wide_scratch() -> Tensor:
    """Room for a piece in float32 [PIECE]; it takes memory as it is used."""
    import torch

    return torch.empty(PIECE, dtype=torch.float32)


def raw_bytes(tensor: Tensor) -> Tensor:
    """The bytes of a tensor, `[nbytes]` uint8; a view when the tensor is contiguous."""
    import torch

    flat = tensor.contiguous().reshape(-1)
    # One value counts as contiguous whatever its stride, but view() wants a stride of 1.
    return flat.as_strided(flat.shape, (1,)).view(torch.uint8)


def row_blocks(tensor: Tensor, limit: int) -> Iterator[Tensor]:
    """Views of at most `limit` elements that follow each other in row-major order.

    Nothing is copied, whatever the strides: a transposed matrix gives blocks of its rows.
    """
    if tensor.is_contiguous():
        yield from tensor.reshape(-1).split(limit)
        return
    inner = math.prod(tensor.shape[1:])
    if inner > limit:
        for part in tensor:
            yield from row_blocks(part, limit)
        return
    yield from tensor.split(max(limit // max(inner, 1), 1))


def _require_finite(before: Tensor, after: Tensor, name: str) -> None:
    import torch

    if not after.numel() or all(bound.isfinite() for bound in after.aminmax()):
        return
    finite = before.isfinite()
    if not (after.isinf() & finite).any():
        return
    largest = before[finite].abs().max().item()
    raise WorkError(
        f"{short(name)}: {largest:g} is too large for {str(after.dtype).removeprefix('torch.')} "
        f"(at most {torch.finfo(after.dtype).max:g})",
        where="dtype",
        fix="choose bf16 or fp32",
    )
