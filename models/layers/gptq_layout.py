"""How the GPTQ checkpoint layout stores integers: the packing, and the zero-point conventions.

The layout is the one that AutoGPTQ wrote first and that GPTQModel, transformers and vLLM read. For
a linear with `n` inputs and `m` outputs, quantized to `b` bits in `g` groups of inputs:

    qweight  int32  [n*b/32, m]   levels, packed along the inputs
    qzeros   int32  [g, m*b/32]   zero points, packed along the outputs
    scales   fp16   [g, m]
    g_idx    int32  [n]           the group of each input

    weight[o, i] = (level[i, o] - zero[g_idx[i], o]) * scale[g_idx[i], o]

32 levels of `b` bits fill `b` words as one stream of bits, lowest bit first. A level may straddle
two words, which happens at 3 bits only (levels 10 and 21 of each 32).
"""

from __future__ import annotations

import torch
from torch import Tensor

BITS = (2, 3, 4, 8)
"""The widths that the layout knows."""

PACK = 32
"""Inputs and outputs of a packed linear come in multiples of this."""

ZERO_OFFSETS = {"gptq": 1, "gptq_v2": 0}
"""What `checkpoint_format` says of qzeros: v1 stores the zero point minus one, v2 as it is."""


def pack(levels: Tensor, bits: int) -> Tensor:
    """Pack integers along the first dimension.

    Args:
        levels (Tensor): [n, m], any integer dtype, values in 0 .. 2**bits - 1, n a multiple of 32.
        bits: 2, 3, 4 or 8.

    Returns:
        Tensor: int32 [n*bits/32, m].

    Raises:
        ValueError: n is not a multiple of 32, or a value does not fit in `bits`.
    """
    n, m = levels.shape
    if n % PACK:
        raise ValueError(f"cannot pack {n} rows: not a multiple of {PACK}")
    if levels.numel() and not (int(levels.min()) >= 0 and int(levels.max()) < 1 << bits):
        raise ValueError(f"a level does not fit in {bits} bits")
    levels = levels.reshape(n // PACK, PACK, m)
    words = torch.zeros(n // PACK, bits, m, dtype=torch.int64, device=levels.device)
    for k in range(PACK):
        word, offset = divmod(k * bits, 32)
        value = levels[:, k].long() << offset
        words[:, word] |= value & 0xFFFFFFFF
        if offset + bits > 32:
            words[:, word + 1] |= value >> 32
    # The words are unsigned; int32 holds the same bits.
    words = torch.where(words >= 1 << 31, words - (1 << 32), words)
    return words.reshape(-1, m).to(torch.int32)


def unpack(packed: Tensor, bits: int) -> Tensor:
    """Undo `pack`.

    Args:
        packed (Tensor): int32 [n*bits/32, m].
        bits: 2, 3, 4 or 8.

    Returns:
        Tensor: uint8 [n, m], values in 0 .. 2**bits - 1.
    """
    rows, m = packed.shape
    mask = (1 << bits) - 1
    if 32 % bits == 0:
        shifts = torch.arange(0, 32, bits, dtype=torch.int32, device=packed.device)
        levels = (packed[:, None] >> shifts[:, None]).bitwise_and_(mask)
        return levels.reshape(-1, m).to(torch.uint8)
    words = packed.reshape(rows // bits, bits, m)
    starts = torch.arange(0, PACK * bits, bits, dtype=torch.int32, device=packed.device)
    levels = words[:, (starts // 32).long()] >> (starts % 32)[:, None]
    for k in range(PACK):
        word, offset = divmod(k * bits, 32)
        held = 32 - offset
        if held < bits:
            # >> copies the sign: keep the bits that this word holds, then add the next word's.
            levels[:, k] &= (1 << held) - 1
            levels[:, k] |= words[:, word + 1] << held
    return levels.bitwise_and_(mask).reshape(-1, m).to(torch.uint8)


def pack_zeros(zeros: Tensor, bits: int, *, checkpoint_format: str = "gptq") -> Tensor:
    """Pack zero points along the outputs, in the convention of `checkpoint_format`.

    Args:
        zeros (Tensor): [g, m], integers in 0 .. 2**bits - 1. "gptq" cannot store 0: some of its
            readers add the one back without a carry between neighbours, others with.

    Returns:
        Tensor: int32 [g, m*bits/32].

    Raises:
        ValueError: a zero point that the format cannot store.
    """
    stored = zeros.long() - ZERO_OFFSETS[checkpoint_format]
    if stored.numel() and int(stored.min()) < 0:
        raise ValueError(f"a zero point of 0 cannot be stored in the format {checkpoint_format!r}")
    return pack(stored.t(), bits).t().contiguous()


def unpack_zeros(qzeros: Tensor, bits: int, *, checkpoint_format: str = "gptq") -> Tensor:
    """Undo `pack_zeros`: uint8 [g, m], values in 0 .. 2**bits - 1.

    A v1 field of all ones means 0, because the one that was taken off wraps within the field.
    """
    stored = unpack(qzeros.t().contiguous(), bits).t()
    return (stored + ZERO_OFFSETS[checkpoint_format]) & ((1 << bits) - 1)


def group_index(in_features: int, group_size: int) -> Tensor:
    """The g_idx of groups of consecutive inputs: int32 [in_features]. -1 is one group for all."""
    size = in_features if group_size == -1 else group_size
    return torch.arange(in_features, dtype=torch.int32) // size
