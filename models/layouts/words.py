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

_PIECE = 1 << 18
"""Numbers that are packed at a time: what is made of them then stays in the processor's cache."""


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
    out = torch.empty(m, n // PACK * bits, dtype=torch.int32, device=levels.device)
    step = max(1, _PIECE // max(n, 1))
    for words, part in zip(out.split(step), levels.t().split(step), strict=True):
        low, high = map(int, part.aminmax()) if part.numel() else (0, 0)
        if not (low >= 0 and high < 1 << bits):
            raise ValueError(f"a level does not fit in {bits} bits")
        rows = torch.empty(part.shape, dtype=torch.uint8, device=levels.device)
        words.copy_(_pack(rows.copy_(part), bits))
    packed = torch.empty(n // PACK * bits, m, dtype=torch.int32, device=levels.device)
    return packed.copy_(out.t())  # `contiguous` would keep odd strides where m is 1


def _pack(levels: Tensor, bits: int) -> Tensor:
    """Pack along the last dimension: uint8 [m, n] -> int32 [m, n*bits/32].

    Eight levels, a byte each, are one number of 64 bits. Neighbours move together, as two bytes,
    as two pairs and as two fours; then the lowest `bits` bytes of the number are the stream.
    """
    found = levels.view(torch.int64)
    for width in () if bits == 8 else (8, 16, 32):
        held = width // 8 * bits
        low = _fields(held, 2 * width)
        moved = (found >> (width - held)).bitwise_and_(low << held)
        found = moved.bitwise_or_(found & low)
    unit = _UNITS.get(bits, torch.uint8)
    parts = found.view(unit).view(*found.shape, -1)
    stream = parts[:, :, : bits // unit.itemsize].contiguous()
    return stream.view(len(levels), -1).view(torch.int32)


def _fields(held: int, width: int) -> int:
    """A number of 64 bits whose lowest `held` of each `width` bits are set."""
    return sum(((1 << held) - 1) << start for start in range(0, 64, width))


_UNITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Bits -> a type in which the bytes of eight levels are copied as one number."""


def unpack(packed: Tensor, bits: int) -> Tensor:
    """Undo `pack`.

    Args:
        packed (Tensor): int32 [n*bits/32, m].
        bits: 1 to 8.

    Returns:
        Tensor: uint8 [n, m], values in 0 .. 2**bits - 1.
    """
    rows, m = packed.shape
    n = rows * 32 // bits
    out = torch.empty(m, n, dtype=torch.uint8, device=packed.device)
    across = torch.empty(m, rows, dtype=torch.int32, device=packed.device).copy_(packed.t())
    step = max(1, _PIECE // max(n, 1))
    for levels, part in zip(out.split(step), across.split(step), strict=True):
        levels.copy_(_unpack(part, bits))
    return out.t()


def _unpack(words: Tensor, bits: int) -> Tensor:
    """Undo `_pack`: int32 [m, n*bits/32] -> uint8 [m, n]."""
    unit = _UNITS.get(bits, torch.uint8)
    parts = words.view(unit).view(len(words), -1, bits // unit.itemsize)
    spread = parts.new_zeros(*parts.shape[:2], 8 // unit.itemsize)
    spread[:, :, : parts.shape[2]] = parts
    found = spread.view(torch.int64)
    for width in () if bits == 8 else (32, 16, 8):
        held = width // 8 * bits
        low = _fields(held, 2 * width)
        moved = (found & (low << held)).bitwise_left_shift_(width - held)
        found = moved.bitwise_or_(found & low)
    return found.view(torch.uint8).view(len(words), -1)


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
