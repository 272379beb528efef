"""Products of int8 inputs and int8 weights, summed as whole numbers: W8A8.

torch has the product for every shape on the CPU. On a GPU it has it for some shapes alone, and
those are left to the rounded inputs and the dequantized weight, which give the same sums.

Milliseconds for a 2048 x 2048 weight on one core of an AMD EPYC (Zen 4), int8 and float32, by rows:
1 1.8 and 4.2, 5 5.1 and 5.9, 17 3.6 and 10, 64 4.1 and 29. On a shared core of an EPYC (Zen 5), the
least of seven, 512 88 and 301, 2048 498 and 1240; beside bfloat16 512 86 and 122, 2048 414 and 515.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tfcli.models.layouts.inputs import Inputs
from tfcli.models.layouts.packing import Packing


def fits(packing: Packing) -> bool:
    """Whether a linear's weight and inputs are whole numbers, with one scale a row and a token."""
    inputs = packing.inputs
    return (
        packing.rows_of_bytes is not None
        and isinstance(inputs, Inputs)
        and inputs.kind == "int8"
        and inputs.per != "group"
        and inputs.symmetric
    )


def takes(x: Tensor) -> bool:
    """Whether torch has the product for this input, and needs no gradient of it."""
    gradient = x.requires_grad and torch.is_grad_enabled()
    return x.device.type == "cpu" and x.numel() > 0 and not gradient


def product(x: Tensor, parts: Mapping[str, Tensor], packing: Packing) -> Tensor:
    """x rounded, times the weight: [..., n] -> [..., m], in the dtype of x.

    Args:
        x (Tensor): [..., n]
        parts: of the weight, and what the inputs store.
        packing: one that `fits`.
    """
    inputs, named = packing.inputs, packing.rows_of_bytes
    assert isinstance(inputs, Inputs) and named is not None, "what does not fit does not come here"
    stored = None if inputs.stored is None else parts[inputs.stored]
    levels, scales = inputs.quantize(x, stored)
    rows = levels.to(torch.int8).flatten(0, -2)
    sums = torch._int_mm(rows, parts[named[0]].t()).float().view(*x.shape[:-1], -1)
    weights = parts[named[1]].float().view(-1)
    return sums.mul_(weights).mul_(scales.float()).to(x.dtype)
