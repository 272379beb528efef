"""Rounding weights to small floats: 8 bits by tensor, row or block, and 4 bits in short groups.

Source: OCP Microscaling Formats (MX) Specification 1.0, of mxfp4 and mxfp8; nvfp4's two scales as
compressed-tensors and vLLM have them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tfcli.models.layouts.elements import LARGEST, power_of_two, round_e2m1
from tfcli.models.layouts.floats import FloatFormat, Scaled

_PIECE = 1 << 20
"""Weights that are rounded at a time."""

_FINE = (1.0, 0.75, 0.8, 0.85, 0.9, 0.95, 1.05, 1.1, 1.2, 1.3, 1.4, 1.5)
"""What a scale is multiplied by before it is rounded to e4m3: below 1 the largest weight is cut
off; 1.5 puts it on 4, above which the next number is 6."""

_POWERS = (1.0, 0.5, 2.0)
"""The same for scales that are powers of two."""


def round_to_floats(weight: Tensor, form: FloatFormat) -> Scaled:
    """Quantize one weight by rounding.

    8-bit floats use the whole range of their type. 4-bit ones take, in each group, the scale that
    has the least squared error of those near the one that does.

    Args:
        weight (Tensor): [m, n] in any float dtype.
        form: what to make.
    """
    m, n = weight.shape
    height, width = form.block(m, n)
    values = torch.empty(m, n, dtype=torch.float8_e4m3fn, device=weight.device)
    scales = torch.empty(form.grid(m, n), device=weight.device)
    divisor = _divisor(weight) if form.scale == "e4m3" else None
    step = max(1, _PIECE // (height * n)) * height
    for start in range(0, m, step):
        rows = weight[start : start + step].float()
        blocks = _blocks(rows, height, width)
        found, of_blocks = _rounded(blocks, form, divisor)
        values[start : start + step] = _joined(found, height)[: len(rows), :n]
        first = start // height
        scales[first : first + len(of_blocks)] = of_blocks
    if divisor is not None:
        scales = scales.to(torch.float8_e4m3fn)
    return Scaled(values, scales, height, width, divisor)


def _rounded(blocks: Tensor, form: FloatFormat, divisor: Tensor | None) -> tuple[Tensor, Tensor]:
    """Values e4m3 [rows, columns, numbers] and scales fp32 [rows, columns] of blocks."""
    most = blocks.abs().amax(-1)
    if form.bits == 8:
        top = LARGEST["e4m3"]
        if form.scale == "e8m0":
            scales = power_of_two(most, "e4m3")
        else:
            scales = _above_zero(most / top)
        found = (blocks / scales[..., None]).clamp_(-top, top)
        return found.to(torch.float8_e4m3fn), scales
    best = torch.full_like(most, torch.inf)
    values, chosen = torch.zeros_like(blocks), torch.ones_like(most)
    for factor in _FINE if divisor is not None else _POWERS:
        if divisor is None:
            stored = scales = power_of_two(most, "e2m1") * factor
        else:
            stored = most / LARGEST["e2m1"] * divisor * factor
            stored = stored.clamp_(2.0**-9, LARGEST["e4m3"]).to(torch.float8_e4m3fn).float()
            scales = stored / divisor
        scales = _above_zero(scales)
        found = round_e2m1(blocks / scales[..., None])
        error = (found * scales[..., None] - blocks).square_().sum(-1)
        better = error < best
        best = torch.where(better, error, best)
        chosen = torch.where(better, stored, chosen)
        values = torch.where(better[..., None], found, values)
    return values.to(torch.float8_e4m3fn), chosen


def _divisor(weight: Tensor) -> Tensor:
    """The number that takes the scales of nvfp4 into e4m3's range: fp32 [1]."""
    most = weight.abs().amax().float().clamp_(min=torch.finfo(torch.float32).tiny)
    whole = LARGEST["e4m3"] * LARGEST["e2m1"] / most
    return torch.where(torch.isfinite(whole), whole, 1.0).view(1)


def _above_zero(scales: Tensor) -> Tensor:
    """Scales that can be divided by; where all weights are zeros, 1."""
    return torch.where(scales > 0, scales, 1.0)


def _blocks(rows: Tensor, height: int, width: int) -> Tensor:
    """The numbers of each block, zeros beyond the edges: [rows, columns, height * width]."""
    m, n = rows.shape
    padded = torch.nn.functional.pad(rows, (0, -n % width, 0, -m % height))
    cut = padded.unflatten(1, (-1, width)).unflatten(0, (-1, height))
    return cut.transpose(1, 2).flatten(2)


def _joined(blocks: Tensor, height: int) -> Tensor:
    """Undo `_blocks`, with what lies beyond the edges."""
    cut = blocks.unflatten(2, (height, -1)).transpose(1, 2)
    return cut.flatten(2).flatten(0, 1)
