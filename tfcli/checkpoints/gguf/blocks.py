"""The arithmetic of GGUF's simple block types: 32 values share a scale.

    Q8_0        scale, 32 signed bytes                  value = scale * step
    Q4_0, Q5_0  scale, steps of 4 or 5 bits             value = scale * (step - 8 or 16)
    Q4_1, Q5_1  scale, least value, steps               value = scale * step + least

Scales and least values are float16. Steps of 4 bits stand two in a byte: those of the first half of
a block in the low bits, those of the second half in the high ones. The fifth bits of all 32 steps
stand in 4 bytes before them. Source: ggml-quants.c of ggml-org/ggml (`quantize_row_*_ref`); bytes
and values are equal to those of the gguf library.

Everything works on a few thousand blocks at a time, in memory that is given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BLOCK = 32
_HALF = 2  # bytes of a float16
_LOW = 0x0F0F0F0F0F0F0F0F


class Scratch:
    """Memory for the work on `count` blocks, kept from one piece to the next."""

    def __init__(self, count: int) -> None:
        self.values = torch.empty(count, BLOCK)
        self.other = torch.empty(count, BLOCK)
        self.steps = torch.empty(count, BLOCK, dtype=torch.int16)
        self.whole = torch.empty(count, BLOCK, dtype=torch.int16)
        self.small = torch.empty(count, BLOCK, dtype=torch.int8)


@dataclass(frozen=True)
class Form:
    """How a type turns blocks into steps.

    Args:
        levels: the largest step; of 4 and 5 bits without a least value, the step that says 0.
        bits: of a step; 4 or 5 are packed.
        least: whether the block's least value is stored and steps count from it.
        limit: the largest absolute value whose block's numbers a float16 holds.
    """

    levels: int
    bits: int
    least: bool
    limit: float

    @property
    def head(self) -> int:
        """The bytes of the float16 numbers before the steps."""
        return 2 * _HALF if self.least else _HALF


_LARGEST_HALF = 65504.0
FORMS = {
    "Q8_0": Form(127, 8, False, _LARGEST_HALF * 127),
    "Q4_0": Form(8, 4, False, _LARGEST_HALF * 8),
    "Q5_0": Form(16, 5, False, _LARGEST_HALF * 16),
    "Q4_1": Form(15, 4, True, _LARGEST_HALF),
    "Q5_1": Form(31, 5, True, _LARGEST_HALF),
}


def quantize(blocks: Tensor, kind: str, out: Tensor, scratch: Scratch) -> Tensor:
    """Fill `out` with the bytes of blocks.

    Args:
        blocks: [n, 32], of any floating type.
        kind: one of `FORMS`.
        out: uint8 [n, bytes of a block].
        scratch: for n blocks.

    Returns:
        Each block's largest absolute value, float32 [n, 1]; NaN where it has one. What stands in
        `out` for blocks beyond the form's limit means nothing.
    """
    form = FORMS[kind]
    values = scratch.values.copy_(blocks)
    if form.bits == 8:
        return _to_bytes(values, form, out, scratch)
    if form.least:
        return _from_least(values, form, out, scratch)
    return _around_zero(values, form, out, scratch)


def dequantize(raw: Tensor, kind: str, out: Tensor) -> Tensor:
    """Fill `out` [n, 32], float32, with the values of blocks `raw`, uint8 [n, bytes of a block]."""
    form = FORMS[kind]
    numbers = raw.view(torch.float16)
    scale = numbers[:, :1].float()
    if form.bits == 8:
        return out.copy_(raw[:, form.head :].view(torch.int8)).mul_(scale)
    _unpack(raw[:, form.head :], form, out)
    if form.least:
        return out.mul_(scale).add_(numbers[:, 1:2].float())
    return out.sub_(form.levels).mul_(scale)


def _to_bytes(values: Tensor, form: Form, out: Tensor, scratch: Scratch) -> Tensor:
    largest = torch.abs(values, out=scratch.other).amax(1, keepdim=True)
    scale = largest / form.levels
    values.mul_(_inverse(scale))
    # Halves go away from zero: trunc(2x) - trunc(x) is that, in few passes.
    scratch.whole.copy_(values)
    scratch.steps.copy_(values.add_(values)).sub_(scratch.whole)
    out.view(torch.float16)[:, :1].copy_(scale)
    out[:, form.head :].view(torch.int8).copy_(scratch.steps)
    return largest


def _around_zero(values: Tensor, form: Form, out: Tensor, scratch: Scratch) -> Tensor:
    """The value that is farthest from zero becomes step 0; of equal ones the first decides."""
    high, low = values.amax(1, keepdim=True), -values.amin(1, keepdim=True)
    extreme = torch.where(high > low, high, -low)
    (even,) = (high == low).squeeze(1).nonzero(as_tuple=True)
    if len(even):
        rows = values[even]
        extreme[even] = rows.gather(1, rows.abs().argmax(1, keepdim=True))
    scale = extreme / -form.levels
    inverse = _inverse(scale)
    # Where the scale is too small for an inverse, the library's steps are all 0.
    middle = torch.where((inverse == 0) & (scale != 0), 0.0, form.levels + 0.5)
    _pack(values.mul_(inverse).add_(middle), form, out, scratch)
    out.view(torch.float16)[:, :1].copy_(scale)
    return torch.maximum(high, low)


def _from_least(values: Tensor, form: Form, out: Tensor, scratch: Scratch) -> Tensor:
    high, low = values.amax(1, keepdim=True), values.amin(1, keepdim=True)
    scale = (high - low) / form.levels
    _pack(values.sub_(low).mul_(_inverse(scale)).add_(0.5), form, out, scratch)
    numbers = out.view(torch.float16)
    numbers[:, :1].copy_(scale)
    numbers[:, 1:2].copy_(low)
    return torch.maximum(high, -low)


def _inverse(scale: Tensor) -> Tensor:
    """1 / scale, and 0 where that is infinite."""
    return scale.reciprocal().nan_to_num_(nan=math.nan, posinf=0.0, neginf=0.0)


def _pack(values: Tensor, form: Form, out: Tensor, scratch: Scratch) -> None:
    """Write positive values, cut to whole steps of 4 or 5 bits, behind the head."""
    small, at = scratch.small.copy_(values).clamp_(max=2**form.bits - 1), form.head
    if form.bits == 5:
        fifth = np.packbits(small.numpy() & 16, bitorder="little")
        out[:, at : at + 4].copy_(torch.from_numpy(fifth).view(-1, 4))
        small.bitwise_and_(15)
        at += 4
    # Bytes do not carry into each other, so eight of them are added at once.
    words = small.view(torch.int64)
    pairs = torch.add(words[:, :2], words[:, 2:], alpha=16)
    out[:, at:].copy_(pairs.view(torch.uint8))


def _unpack(packed: Tensor, form: Form, out: Tensor) -> None:
    """Fill `out` with steps of 4 or 5 bits."""
    # A copy, for a view in larger words needs its bytes to begin at one.
    words = packed[:, -BLOCK // 2 :].clone(memory_format=torch.contiguous_format).view(torch.int64)
    small = torch.cat((words & _LOW, (words >> 4) & _LOW), 1).view(torch.uint8)
    if form.bits == 5:
        fifth = np.unpackbits(packed[:, :4].numpy().reshape(-1), bitorder="little")
        small.add_(torch.from_numpy(fifth).view(-1, BLOCK), alpha=16)
    out.copy_(small)
