"""bitsandbytes' product with 4-bit weights on the CPU, for the few rows of decoding.

It multiplies bf16 inputs straight with nf4 and fp4 codes, on processors with bf16 instructions of
AVX-512. The scales are rounded to bf16 on the way.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from tfcli.models import processor
from tfcli.models.layouts.bitsandbytes_4bit import FourBits
from tfcli.models.layouts.codebook import CodebookFormat
from tfcli.models.layouts.packing import Packing
from tfcli.models.layouts.values import Format

OUT_MULTIPLE = 32
MOST_ROWS = 8
"""Beyond this many rows, unpacking once for all of them and a dense product are as fast.
Milliseconds for 2048 x 2048 on one core of an AMD EPYC (Zen 4), the kernel against a dense bf16
product: 1 row 0.17 and 0.36, 4 rows 0.29 and 0.44, 16 rows 0.99 and 0.92, 64 rows 8.2 and 3.1."""


@cache
def is_fast() -> bool:
    """Whether the library is there and has instructions for this processor."""
    return "avx512_bf16" in processor.features() and find_spec("bitsandbytes") is not None


def takes_format(form: Format) -> bool:
    """Whether the kernel has weights of a format."""
    return isinstance(form, CodebookFormat) and form.table in ("nf4", "fp4")


def fits(
    in_features: int, out_features: int, packing: Packing, parts: Mapping[str, Tensor]
) -> bool:
    """Whether the kernel has a layer: its blocks must not run on from row to row."""
    if not isinstance(packing, FourBits) or out_features % OUT_MULTIPLE:
        return False
    blocks = len(parts["weight.absmax"])
    return blocks % out_features == 0 and in_features % (blocks // out_features) == 0


def takes(x: Tensor) -> bool:
    """Whether the kernel is right and fast for this input, [..., n]."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.bfloat16
        and is_fast()
        and 0 < x.numel() <= MOST_ROWS * x.shape[-1]
        and not (x.requires_grad and torch.is_grad_enabled())
    )


@dataclass(frozen=True)
class Weight:
    """A weight in the kernel's own order, beside the tensors of the checkpoint.

    Args:
        layer: bitsandbytes' layer, which turns its own copy over at its first use.
    """

    layer: Any

    @classmethod
    def of(cls, parts: Mapping[str, Tensor], in_features: int, out_features: int) -> Weight:
        """From the tensors of the checkpoint, which stay as they are."""
        nn = _library().nn
        layer = nn.Linear4bit(
            in_features, out_features, bias=False, compute_dtype=torch.bfloat16, device="meta"
        )
        stats = {name: part.clone() for name, part in parts.items() if name != "weight"}
        codes = parts["weight"].view(torch.uint8).view(-1, 1).clone()
        layer.weight = nn.Params4bit.from_prequantized(codes, stats, device="cpu", module=layer)
        return cls(layer.eval())

    def __call__(self, x: Tensor) -> Tensor:
        """x (Tensor): bf16 [..., n] -> bf16 [..., m]"""
        with torch.no_grad():
            out: Tensor = self.layer(x)
        return out


@cache
def _library() -> Any:
    # What it says when it is imported is of kernels that it would fetch from a hub.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    return import_module("bitsandbytes")
