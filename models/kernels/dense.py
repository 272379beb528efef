"""Few rows with a dense weight as it lies in memory, at the speed at which memory is read."""

from __future__ import annotations

import torch
from torch import Tensor

from tfcli.models.kernels.library import library

KINDS = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
"""Types as vectors.h numbers them."""

MOST_ROWS = 8
LEAST_WEIGHTS = 1 << 16
"""Smaller weights stay in a core's cache, and are multiplied before a call has begun."""


def fits(weight: Tensor, rows: int) -> bool:
    """Whether `matvec` is the way to multiply so many rows with a weight: by shapes alone.

    weight (Tensor): [m, n]
    """
    return 1 <= rows <= MOST_ROWS and weight.numel() >= LEAST_WEIGHTS and is_read(weight)


def is_read(weight: Tensor) -> bool:
    """Whether the kernels read a weight [m, n] where it lies, whatever its size."""
    return weight.dtype in KINDS and weight.stride(1) == 1 and weight.stride(0) >= weight.shape[1]


def matvec(weight: Tensor, x: Tensor, bias: Tensor | None = None) -> Tensor | None:
    """x W^T + b, summed in float32 and rounded once. None where there are no kernels.

    The bits of a row are the same alone and among others, for any number of threads, and wherever
    the weight lies. No gradients.

    weight (Tensor): [m, n] for which `fits` holds; x (Tensor): [..., n] and bias (Tensor): [m], of
        its type -> [..., m]
    """
    kernels = library()
    if kernels is None:
        return None
    (m, n), kind = weight.shape, KINDS[weight.dtype]
    x = x.contiguous()
    out = x.new_empty((*x.shape[:-1], m))
    if bias is not None:
        bias = bias.contiguous()
    failed = kernels.dense_product(
        weight.data_ptr(),
        weight.stride(0),
        m,
        n,
        x.data_ptr(),
        None if bias is None else bias.data_ptr(),
        out.data_ptr(),
        x.numel() // n,
        kind,
        torch.get_num_threads(),
    )
    if failed:
        raise MemoryError
    return out
