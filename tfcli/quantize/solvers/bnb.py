"""The rounding of bitsandbytes: nf4 and fp4 in blocks, LLM.int8() by rows. Bit for bit its own.

Source: bitsandbytes 0.50 on the CPU, `backends/default/ops.py` and `csrc/cpu_ops.cpp`.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from tfcli.models.layers import llm_int8
from tfcli.models.layouts.bitsandbytes_4bit import NESTED_SIZE, table_of
from tfcli.models.layouts.bitsandbytes_8bit import Rows
from tfcli.models.layouts.codebook import Codebook, Nested

_TINY = 1e-38
"""Blocks of zeros are divided by it."""

_PIECE = 1 << 20
"""Weights that are in fp32 at a time, a multiple of all block sizes: what is made of a weight is
smaller than the weight is."""

_STEPS = 1 << 16
"""Scales are rounded to so many steps of -1 .. 1, and then to the entry nearest to the step."""


def quantize_4bit(weight: Tensor, kind: str, block_size: int, *, nested: bool) -> Codebook:
    """Round to the nearest entries of a table, in blocks that run on from row to row.

    Args:
        weight (Tensor): [m, n] in fp32, bf16 or fp16.
        kind: nf4 or fp4.
        block_size: weights that share a scale, the largest of them.
        nested: quantize the scales to 8 bits too.
    """
    flat = weight.reshape(-1)
    table = table_of(kind).to(flat.device)
    whole = len(flat) // block_size * block_size
    found = []
    for piece in flat[:whole].split(_PIECE):
        blocks = piece.float().view(-1, block_size)
        largest = blocks.abs().amax(dim=1)
        scaled = blocks * (1.0 / largest.clamp(min=_TINY))[:, None]
        found.append((_nearest(scaled.view(-1), table), largest))
    if whole < len(flat):
        # The last block, which is shorter, is divided; the others are multiplied.
        last = flat[whole:].float()
        top = last.abs().amax().clamp(min=_TINY)
        found.append((_nearest(last / top, table), top[None]))
    codes, tops = (torch.cat(each) for each in zip(*found, strict=True))
    scales = quantize_scales(tops) if nested else tops
    return Codebook(codes.view(weight.shape), table, scales, block_size, weight.dtype)


def _nearest(scaled: Tensor, table: Tensor) -> Tensor:
    """The entry of a table nearest to each number of -1 .. 1: uint8."""
    order = table.argsort()
    middles = (table[order[:-1]] + table[order[1:]]) / 2
    return order.to(torch.uint8)[torch.bucketize(scaled.clamp_(-1, 1), middles)]


def quantize_scales(scales: Tensor) -> Nested:
    """Scales as 8-bit entries of a table, less their mean.

    scales (Tensor): fp32 [blocks].
    """
    offset = scales.mean()
    rest = scales - offset
    table = dynamic_table().to(rest.device)
    blocks = torch.nn.functional.pad(rest, (0, -len(rest) % NESTED_SIZE)).view(-1, NESTED_SIZE)
    largest = blocks.abs().amax(dim=1)
    inverse = torch.where(largest > 0, 1.0 / largest, 0.0)
    scaled = (blocks * inverse[:, None]).clamp_(-1, 1)
    steps = ((scaled + 1) * 0.5 * (_STEPS - 1) + 0.5).long()
    codes = _nearest_entries().to(rest.device)[steps].masked_fill_((largest == 0)[:, None], 0)
    return Nested(codes.view(-1)[: len(rest)], table, largest, offset.item(), NESTED_SIZE)


def quantize_8bit(weight: Tensor) -> Rows:
    """Round each output's row to 255 levels, of fp16 weights.

    weight (Tensor): [m, n] in any float type.
    """
    found = []
    for rows in weight.split(max(1, _PIECE // weight.shape[1])):
        half = rows.to(torch.float16)
        largest = half.abs().amax(dim=1).float()
        found.append((llm_int8.round_rows(half, largest), largest))
    levels, tops = (torch.cat(each) for each in zip(*found, strict=True))
    return Rows(levels, tops)


@cache
def dynamic_table() -> Tensor:
    """The 8-bit table of scales, sorted: fp32 [256].

    For each power of ten from 1e-6 to 1, the middles of 1, 2, 4, ... 64 equal steps of 0.1 .. 1 of
    it, of both signs; and 0 and 1. Source: Dettmers, "8-Bit Approximations for Parallelism in Deep
    Learning" (2015), section 2.
    """
    numbers = [0.0, 1.0]
    for power in range(7):
        edges = torch.linspace(0.1, 1, (1 << power) + 1, dtype=torch.float32)
        middles = ((edges[:-1] + edges[1:]) / 2 * 10 ** (power - 6)).tolist()
        numbers += [*middles, *(-number for number in middles)]
    return torch.tensor(sorted(numbers), dtype=torch.float32)


@cache
def _nearest_entries() -> Tensor:
    """The entry of the table nearest to each step of -1 .. 1: uint8 [65536]."""
    table = dynamic_table()
    steps = -1 + 2 * torch.arange(_STEPS, dtype=torch.float32) / (_STEPS - 1)
    return torch.bucketize(steps, (table[:-1] + table[1:]) * 0.5).to(torch.uint8)
