"""LLM.int8(): the product of a linear whose weight and inputs are both rounded to 8 bits.

Each row of the inputs and of the weight has a scale of its own. Inputs from a threshold on are
outliers: their columns are multiplied in the inputs' own type with the dequantized weight.
Source: Dettmers et al., "LLM.int8()" (2022); rounding as in bitsandbytes 0.50, whose results these
are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tfcli.models import processor

LEVELS = 127
RECIPROCAL = 7.874015718698502e-3
"""1 / 127, as bitsandbytes writes it; the weight is level * scale * this, in this order."""
_BOTH = 6.200124e-05  # 1 / 127^2, in the same way

_EXACT = 1024
"""Products of two levels that float32 adds up exactly: 127 * 127 * 1024 < 2^24."""


def product(
    x: Tensor, levels: Tensor, scales: Tensor, threshold: float, bias: Tensor | None
) -> Tensor:
    """A linear's output; not differentiable.

    Args:
        x (Tensor): [..., n].
        levels (Tensor): int8 [m, n].
        scales (Tensor): fp32 [m], the largest weight of each output.
        threshold: inputs from here on are outliers; 0 for none.
        bias (Tensor): [m].

    Returns:
        Tensor: [..., m], in the type of x.
    """
    flat = x.reshape(-1, x.shape[-1])
    rounded, row_scales, outliers = round_inputs(flat.to(torch.float16), threshold)
    summed = multiply(rounded, levels)
    out = summed * (row_scales[:, None] * scales.float()[None]) * _BOTH
    if bias is not None:
        out += bias
    out = out.to(x.dtype)
    if outliers is not None and outliers.numel():
        columns = (levels[:, outliers] * scales.float()[:, None] * RECIPROCAL).to(x.dtype)
        out = out.addmm(flat[:, outliers], columns.t())
    return out.view(*x.shape[:-1], levels.shape[0])


def round_inputs(x: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor | None]:
    """Rows rounded to 8 bits.

    Args:
        x (Tensor): fp16 [rows, n].
        threshold: values from here on are outliers; 0 for none.

    Returns:
        levels int8 [rows, n], with zeros in the columns of outliers; the largest value of each row
        beside them, fp32 [rows]; the columns of outliers.
    """
    columns = None
    if threshold > 0:
        outliers = x.abs() >= threshold
        columns = outliers.any(dim=0).nonzero().view(-1)
        x = x.masked_fill(outliers, 0)
    largest = x.abs().amax(dim=1).float()
    levels = round_rows(x, largest)
    if columns is not None:
        levels[:, columns] = 0
    return levels, largest, columns


def round_rows(x: Tensor, largest: Tensor) -> Tensor:
    """The levels of rows, given the largest absolute value of each: int8 like x."""
    factor = torch.where(largest > 0, LEVELS / largest, 0.0)  # a row of zeros stays zeros
    return (x * factor[:, None]).round_().to(torch.int8)


def multiply(x: Tensor, levels: Tensor) -> Tensor:
    """x W^T of whole numbers, exactly. int8 [rows, n] and int8 [m, n] -> int32 [rows, m]."""
    if x.device.type == "cpu" and "avx512_vnni" in processor.features():
        return torch._int_mm(x, levels.t())
    total = torch.zeros(len(x), len(levels), dtype=torch.int32, device=x.device)
    for start in range(0, x.shape[1], _EXACT):
        part = slice(start, start + _EXACT)
        total += (x[:, part].float() @ levels[:, part].float().t()).int()
    return total
