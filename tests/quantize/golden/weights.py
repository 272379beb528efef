"""The quantized linears of the golden file, by arithmetic: no library's random numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

OUT = 32  # outputs


@dataclass(frozen=True)
class Golden:
    """One linear of `gptqmodel.safetensors`, where its tensors are `<name>.qweight` and so on."""

    bits: int
    group_size: int
    symmetric: bool

    @property
    def name(self) -> str:
        return f"{self.bits}-bits-{self.group_size}-{'sym' if self.symmetric else 'asym'}"

    @property
    def in_features(self) -> int:
        return 2 * self.group_size

    def levels(self) -> Tensor:
        """[out, in]"""
        out, into = torch.arange(OUT)[:, None], torch.arange(self.in_features)[None]
        return (out * out * 5 + into * 7 + out * into * 3 + into // 9) % (1 << self.bits)

    def zeros(self) -> Tensor:
        """[out, groups], none of which is 0: the layout's first version cannot hold that."""
        if self.symmetric:
            return torch.full((OUT, 2), 1 << (self.bits - 1))
        out, group = torch.arange(OUT)[:, None], torch.arange(2)[None]
        return 1 + (out * 11 + group * 2) % ((1 << self.bits) - 1)

    def scales(self) -> Tensor:
        """[out, groups], fp32 values that fp16 holds exactly."""
        out, group = torch.arange(OUT)[:, None], torch.arange(2)[None]
        return (1 + (out * 37 + group * 501) % 1024) / 2**14


GOLDEN = [
    Golden(bits, 64 if (number + symmetric) % 2 else 32, bool(symmetric))
    for number, bits in enumerate((2, 3, 4, 8))
    for symmetric in (0, 1)
]

AWQ_GOLDEN = [Golden(4, 32, False), Golden(4, 64, True), Golden(4, 128, False)]
"""Those of `awq.safetensors`: AutoAWQ has 4 bits."""
