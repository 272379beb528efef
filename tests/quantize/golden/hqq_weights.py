"""The weights of `hqq.safetensors`, by arithmetic: no library's random numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SHAPE = (16, 32)
LARGE = (96, 256)
"""For the objective, of which only the numbers are held."""


@dataclass(frozen=True)
class Case:
    """One linear, whose tensors are `<name>.W_q` and so on."""

    bits: int
    axis: int
    group_size: int | None
    compute: str = "float32"
    view_as_float: bool = False

    @property
    def name(self) -> str:
        return f"{self.bits}-bits-axis-{self.axis}-{self.compute}"


CASES = [
    Case(8, 1, 16),
    Case(8, 0, None, "float16"),
    Case(4, 1, 16, "bfloat16", view_as_float=True),
    Case(4, 0, 64),
    Case(3, 1, 64, "float16"),
    Case(3, 0, 16),
    Case(2, 1, None),
    Case(2, 0, 32, view_as_float=True),
    Case(1, 1, 16, "float16"),
    Case(1, 0, 8),
]


def weight(shape: tuple[int, int]) -> Tensor:
    """A bell of numbers with a few that are far out: fp32, which fp16 holds exactly."""
    place = torch.arange(shape[0] * shape[1], dtype=torch.float64)
    even = (place * 0.6180339887498949 + 0.5 * place.div(shape[1]).floor() * 0.3819660112501051) % 1
    bell = torch.erfinv((2 * even - 1) * 0.999) * 0.05
    bell[::97] *= 4
    return bell.view(shape).half().float()
