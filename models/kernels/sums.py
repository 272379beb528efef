"""Sums over tokens of products of their bfloat16 inputs, in float32: what calibration adds up."""

from __future__ import annotations

import torch
from torch import Tensor

from tfcli.models.kernels.library import library, status


def add_products(sums: Tensor, a: Tensor, b: Tensor | None = None) -> bool:
    """Add A' B to sums; without b A' A, of which only the upper triangle counts then.

    Products of bfloat16 are exact in float32, in which they are added up. The bits are the same for
    any number of threads.

    Args:
        sums (Tensor): fp32 [n, k], contiguous; changed in place.
        a (Tensor): bf16 [t, n].
        b (Tensor): bf16 [t, k].

    Returns:
        Whether it was done; not where there is no kernel, or no instructions for it.
    """
    every = [a] if b is None else [a, b]
    if any(each.dtype != torch.bfloat16 or each.device.type != "cpu" for each in every):
        return False
    kernels = library()
    if kernels is None or status().level != "avx512_bf16":
        return False
    a = a.contiguous()
    other = a if b is None else b.contiguous()
    (tokens, n), k = a.shape, other.shape[1]
    failed = kernels.add_products(
        a.data_ptr(),
        other.data_ptr(),
        sums.data_ptr(),
        tokens,
        n,
        k,
        b is None,
        torch.get_num_threads(),
    )
    if failed:
        raise MemoryError
    return True
