"""Small whole numbers in 32-bit words: one stream of bits, lowest bit first.

32 levels of `b` bits fill `b` words. A level may straddle two words, as levels 10 and 21 of each 32
do at 3 bits. AutoGPTQ packed so first; GPTQModel, transformers, vLLM, compressed-tensors and MLX
read it.
"""

from __future__ import annotations

import torch
from torch import Tensor

BITS = (2, 3, 4, 8)
"""The widths that GPTQ's layout has; any from 1 to 8 can be packed."""

PACK = 32
"""Numbers are packed in multiples of this."""

_PIECE = 1 << 22
"""Numbers that are in wide types at a time."""


def pack(levels: Tensor, bits: int) -> Tensor:
    """Pack integers along the first dimension.

    Args:
        levels (Tensor): [n, m], any integer dtype, values in 0 .. 2**bits - 1, n a multiple of 32.
        bits: 1 to 8.

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
    out = torch.empty(n // PACK * bits, m, dtype=torch.int32, device=levels.device)
    step = max(1, _PIECE // (PACK * max(m, 1)))
    for words, part in zip(out.split(step * bits), levels.split(step * PACK), strict=True):
        words.copy_(_pack(part.reshape(-1, PACK, m), bits))
    return out


def _pack(levels: Tensor, bits: int) -> Tensor:
    """Words that are written into int32: [n / 32, 32, m] -> int64 [n*bits/32, m]."""
    count, _, m = levels.shape
    words = torch.zeros(count, bits, m, dtype=torch.int64, device=levels.device)
    for k in range(PACK):
        word, offset = divmod(k * bits, 32)
        value = levels[:, k].long() << offset
        words[:, word] |= value & 0xFFFFFFFF
        if offset + bits > 32:
            words[:, word + 1] |= value >> 32
    # The words are unsigned; int32 holds the same bits.
    return torch.where(words >= 1 << 31, words - (1 << 32), words).reshape(-1, m)


def unpack(packed: Tensor, bits: int) -> Tensor:
    """Undo `pack`.

    Args:
        packed (Tensor): int32 [n*bits/32, m].
        bits: 1 to 8.

    Returns:
        Tensor: uint8 [n, m], values in 0 .. 2**bits - 1.
    """
    rows, m = packed.shape
    out = torch.empty(rows * 32 // bits, m, dtype=torch.uint8, device=packed.device)
    step = max(1, _PIECE // (PACK * max(m, 1)))
    for levels, part in zip(out.split(step * PACK), packed.split(step * bits), strict=True):
        levels.copy_(_unpack(part, bits))
    return out


def _unpack(packed: Tensor, bits: int) -> Tensor:
    """Levels that are written into uint8: int32 [words, m] -> int32 [levels, m]."""
    rows, m = packed.shape
    mask = (1 << bits) - 1
    if 32 % bits == 0:
        shifts = torch.arange(0, 32, bits, dtype=torch.int32, device=packed.device)
        levels = (packed[:, None] >> shifts[:, None]).bitwise_and_(mask)
        return levels.reshape(-1, m)
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
    return levels.bitwise_and_(mask).reshape(-1, m)


def pack_padded(levels: Tensor, bits: int) -> Tensor:
    """`pack` for any number of rows: the words that they fill, the last one in part.

    Args:
        levels (Tensor): [n, m]
        bits: 1 to 8.

    Returns:
        Tensor: int32 [ceil(n*bits/32), m].
    """
    n, m = levels.shape
    padded = levels.new_zeros(-(-n // PACK) * PACK, m)
    padded[:n] = levels
    return pack(padded, bits)[: -(-n * bits // 32)]


def unpack_padded(packed: Tensor, bits: int, n: int) -> Tensor:
    """Undo `pack_padded`: uint8 [n, m]."""
    padded = packed.new_zeros(-(-n // PACK) * bits, packed.shape[1])
    padded[: len(packed)] = packed
    return unpack(padded, bits)[:n]
