"""Which precision a run really uses."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from tfcli.errors import UsageError

Precision = Literal["float32", "bfloat16"]


def has_bf16(device: str) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    features = torch.cpu.get_capabilities()
    return any(features.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def pick_precision(name: str, device: str) -> Precision:
    """The precision of the computation; the weights stay float32.

    Raises:
        UsageError: bfloat16 is asked for where it would only be emulated, slower than float32.
    """
    supported = has_bf16(device)
    if name == "bfloat16" and not supported:
        raise UsageError(
            f"this {device} has no bfloat16 instructions",
            where="precision",
            fix="precision: float32, or auto",
        )
    return "bfloat16" if name in ("auto", "bfloat16") and supported else "float32"


def autocast(precision: Precision, device: str) -> AbstractContextManager[object]:
    """The context of a forward pass and its loss.

    The loop opens it itself: accelerate's own wrapper copies the logits to float32 once more.
    """
    if precision == "bfloat16":
        return torch.autocast(device, torch.bfloat16)
    return nullcontext()
