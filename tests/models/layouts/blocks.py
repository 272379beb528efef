"""Bytes of ggml's block types with every bit drawn, but for numbers that are finite."""

from __future__ import annotations

import torch
from torch import Tensor

from tfcli.models.layouts.ggml import GGML_TYPES

_NUMBERS_AT = {"Q2_K": 80, "Q3_K": 108, "Q6_K": 208}
"""Where the float16 numbers stand that are not at a block's beginning."""


def random_blocks(
    kind: str, *, rows: int, blocks: int, seed: int = 0, largest: float | None = None
) -> Tensor:
    """uint8 [rows, bytes of a row].

    Args:
        kind: the type.
        rows: of the weight.
        blocks: in a row.
        seed: of the draw.
        largest: about how large weights may be; None: any.
    """
    made = GGML_TYPES[kind]
    draw = torch.Generator().manual_seed(seed)
    raw = torch.randint(0, 256, (rows * blocks, made.nbytes), generator=draw, dtype=torch.uint8)
    count = 2 if made.mins else 1
    numbers = torch.randn(rows * blocks, count, generator=draw)
    if largest is not None:
        numbers *= largest / (made.levels[1] - made.middle) / made.scales[1]
        # Least values, where they are, put the middle of the levels at zero.
        numbers[:, 1:] = numbers[:, :1] * (made.levels[1] / 2 * (1 if made.wide else -1))
    numbers = numbers.half()
    at = _NUMBERS_AT.get(kind, 0)
    raw[:, at : at + 2 * count] = numbers.view(torch.uint8)
    return raw.view(rows, -1)
