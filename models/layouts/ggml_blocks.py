"""The bytes of ggml's block types: packs weights for a GGUF file, and unpacks them.

Levels of 256 inputs lie in planes: a byte holds the same bits of inputs that are 32 or 64 apart.
Source: ggml-common.h and `quantize_row_*_ref` in ggml-quants.c of ggml-org/ggml.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tfcli.models.layouts.ggml import GGML_TYPES, GGMLType, GGMLValues


def pack_blocks(values: GGMLValues) -> Tensor:
    """The rows of a weight as a file has them: uint8 [m, bytes of a row].

    Args:
        values: with float16 numbers that are finite.
    """
    kind, m = values.type, values.levels.shape[0]
    levels = values.levels.reshape(-1, kind.block)
    head = [_halves(values.d)]
    if values.dmin is not None:
        # The older types store what is added, the K-types what is taken away.
        head.append(_halves(values.dmin if kind.wide else -values.dmin))
    if not kind.wide:
        return torch.cat([*head, *_pack_32(levels, kind)], dim=1).view(m, -1)
    many = kind.block // kind.group
    scales = values.scales.reshape(-1, many).to(torch.int16)
    mins = None if values.mins is None else values.mins.reshape(-1, many).to(torch.int16)
    return torch.cat(_pack_256(levels, scales, mins, head, kind), dim=1).view(m, -1)


def unpack_blocks(raw: Tensor, name: str) -> GGMLValues:
    """Undo `pack_blocks`.

    Args:
        raw (Tensor): uint8 [m, bytes of a row].
        name: of the type.

    Raises:
        ValueError: a row is not a whole number of blocks.
    """
    kind, m = GGML_TYPES[name], raw.shape[0]
    if raw.shape[1] % kind.nbytes:
        raise ValueError(f"rows of {raw.shape[1]} bytes are no whole blocks of {name}")
    blocks = raw.reshape(-1, kind.nbytes)
    if kind.wide:
        levels, scales, mins, head = _unpack_256(blocks, kind)
    else:
        head = blocks[:, : 4 if kind.mins else 2]
        levels = _unpack_32(blocks[:, head.shape[1] :], kind)
        scales = torch.ones(len(blocks), 1, dtype=torch.int8, device=raw.device)
        mins = scales if kind.mins else None
    numbers = head.contiguous().view(torch.float16)
    dmin = None
    if mins is not None:
        dmin = (numbers[:, 1] if kind.wide else -numbers[:, 1]).reshape(m, -1)
        mins = mins.to(torch.int8).reshape(m, -1)
    scales = scales.to(torch.int8).reshape(m, -1)
    return GGMLValues(levels.reshape(m, -1), scales, numbers[:, 0].reshape(m, -1), mins, dmin, name)


def _halves(numbers: Tensor) -> Tensor:
    """The bytes of float16 numbers: uint8 [count, 2]."""
    return numbers.reshape(-1, 1).contiguous().view(torch.uint8)


def _join(parts: Tensor, bits: int) -> Tensor:
    """Numbers [count, k, width] that share bytes, the first lowest: uint8 [count, width]."""
    joined = parts[:, 0].clone()
    for place in range(1, parts.shape[1]):
        joined |= parts[:, place] << (bits * place)
    return joined


def _part(raw: Tensor, bits: int) -> Tensor:
    """Undo `_join`: uint8 [count, 8 / bits, width]."""
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=raw.device)
    return (raw[:, None, :] >> shifts[:, None]) & ((1 << bits) - 1)


def _planes(levels: Tensor, bits: int, width: int) -> Tensor:
    """Runs of `8 / bits` times `width` levels, of which those `width` apart share a byte."""
    runs = levels.reshape(-1, 8 // bits, width)
    return _join(runs, bits).reshape(len(levels), -1)


def _from_planes(raw: Tensor, bits: int, width: int) -> Tensor:
    """Undo `_planes`."""
    return _part(raw.reshape(-1, width), bits).reshape(len(raw), -1)


def _pack_32(levels: Tensor, kind: GGMLType) -> list[Tensor]:
    if kind.bits == 8:
        return [(levels.to(torch.int16) - kind.middle).to(torch.int8).view(torch.uint8)]
    low = _planes(levels & 15, 4, 16)
    if kind.bits == 4:
        return [low]
    fifth = (levels >> 4).view(-1, 4, 8).transpose(1, 2)  # 8 neighbours share a byte
    return [_join(fifth, 1), low]


def _unpack_32(raw: Tensor, kind: GGMLType) -> Tensor:
    if kind.bits == 8:
        return (raw.contiguous().view(torch.int8).to(torch.int16) + kind.middle).to(torch.uint8)
    low = _from_planes(raw[:, -16:], 4, 16)
    if kind.bits == 4:
        return low
    return low | (_part(raw[:, :4], 1).transpose(1, 2).reshape(len(raw), 32) << 4)


def _pack_256(
    levels: Tensor, scales: Tensor, mins: Tensor | None, head: list[Tensor], kind: GGMLType
) -> list[Tensor]:
    """The parts of blocks in the order in which each type has them."""
    if kind.name == "Q2_K":
        assert mins is not None
        return [(scales | mins << 4).to(torch.uint8), _planes(levels, 2, 32), *head]
    if kind.name == "Q3_K":
        return [
            _planes(levels >> 2, 1, 32),
            _planes(levels & 3, 2, 32),
            _pack_scales_of_q3(scales + 32),
            *head,
        ]
    if kind.name == "Q6_K":
        signed = scales.to(torch.int8).view(torch.uint8)
        return [_planes(levels & 15, 4, 64), _planes(levels >> 4, 2, 32), signed, *head]
    assert mins is not None
    fifth = [_planes(levels >> 4, 1, 32)] if kind.bits == 5 else []
    return [*head, _pack_scales_and_mins(scales, mins), *fifth, _planes(levels & 15, 4, 32)]


def _unpack_256(raw: Tensor, kind: GGMLType) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Levels, scales, mins and the bytes of the float16 numbers."""
    if kind.name == "Q2_K":
        both, low, head = raw.split([16, 64, 4], dim=1)
        return _from_planes(low, 2, 32), both & 15, both >> 4, head
    if kind.name == "Q3_K":
        high, low, packed, head = raw.split([32, 64, 12, 2], dim=1)
        levels = _from_planes(low, 2, 32) | _from_planes(high, 1, 32) << 2
        return levels, _unpack_scales_of_q3(packed).to(torch.int16) - 32, None, head
    if kind.name == "Q6_K":
        low, high, signed, head = raw.split([128, 64, 16, 2], dim=1)
        levels = _from_planes(low, 4, 64) | _from_planes(high, 2, 32) << 4
        return levels, signed.contiguous().view(torch.int8), None, head
    head, packed, high, low = raw.split([4, 12, 32 if kind.bits == 5 else 0, 128], dim=1)
    levels = _from_planes(low, 4, 32)
    if kind.bits == 5:
        levels = levels | _from_planes(high, 1, 32) << 4
    return levels, *_unpack_scales_and_mins(packed), head


def _pack_scales_of_q3(scales: Tensor) -> Tensor:
    """Sixteen numbers of 6 bits, [count, 16], in 12 bytes: low halves, then high quarters."""
    small = scales.to(torch.uint8)
    return torch.cat([_planes(small & 15, 4, 8), _planes(small >> 4, 2, 4)], dim=1)


def _unpack_scales_of_q3(raw: Tensor) -> Tensor:
    return _from_planes(raw[:, :8], 4, 8) | _from_planes(raw[:, 8:], 2, 4) << 4


def _pack_scales_and_mins(scales: Tensor, mins: Tensor) -> Tensor:
    """Eight numbers of 6 bits and eight more, [count, 8] each, in 12 bytes.

    The first four of each have a byte, whose two high bits are those of the last four.
    """
    scales, mins = scales.to(torch.uint8), mins.to(torch.uint8)
    return torch.cat(
        [
            scales[:, :4] | scales[:, 4:] >> 4 << 6,
            mins[:, :4] | mins[:, 4:] >> 4 << 6,
            scales[:, 4:] & 15 | (mins[:, 4:] & 15) << 4,
        ],
        dim=1,
    )


def _unpack_scales_and_mins(raw: Tensor) -> tuple[Tensor, Tensor]:
    first, second, low = raw.split(4, dim=1)
    return (
        torch.cat([first & 63, low & 15 | first >> 6 << 4], dim=1),
        torch.cat([second & 63, low >> 4 | second >> 6 << 4], dim=1),
    )
