"""Tensors beside each other in pieces, so that arithmetic on them needs little memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from tfcli.checkpoints.safetensors import raw_bytes
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError

PIECE = 1 << 20
"""Elements that are looked at together. Their copies in fp32, 4 MB each, stay near the processor's
cache: pieces four times as large took up to twice the time."""


def pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Walk through tensors of one shape side by side: flat views of at most PIECE elements."""
    return zip(*(tensor.reshape(-1).split(PIECE) for tensor in tensors), strict=True)


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same type, shape and bits; NaN equals itself."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return all(torch.equal(raw_bytes(a), raw_bytes(b)) for a, b in pieces(one, other))


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


def rounded(tensor: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    """The tensor `name` in another type; itself when it has that type.

    Raises:
        WorkError: as `fill`.
    """
    if tensor.dtype == dtype:
        return tensor
    result = torch.empty(tensor.shape, dtype=dtype)
    for target, part in pieces(result, tensor):
        fill(target, part, name)
    return result
