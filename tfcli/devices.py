"""Where a model runs, in which type, and how it computes: one place for every verb."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

from tfcli.errors import UsageError
from tfcli.models import processor
from tfcli.models.kernels.library import status as kernels
from tfcli.models.layers import bnb_kernel, int4_kernel, tiles
from tfcli.models.layouts.registry import layout_of, runs_packed

Precision = Literal["float32", "bfloat16"]


def pick_device(name: str) -> torch.device:
    """The device of `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    `cuda:N` becomes the process's current device too, for what asks for cuda alone.

    Raises:
        UsageError: the machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise UsageError("this machine has no CUDA device", where="device", fix="device: cpu")
        if device.index is not None:
            if device.index >= count:
                raise UsageError(
                    f"there is no {name}: this machine has cuda:0 to cuda:{count - 1}",
                    where="device",
                )
            torch.cuda.set_device(device)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("this machine has no Apple GPU (mps)", where="device", fix="device: cpu")
    return device


def pick_dtype(
    name: str, quantization: Mapping[str, Any] | None = None, device: str = "cpu"
) -> torch.dtype | None:
    """The torch type of a name such as `float32`; None keeps what is stored.

    `auto` keeps what is stored, since 16-bit weights are never slower than the same in float32
    (`models/layers/linear.py`), except where all that a quantized model has is torch's kernel,
    which is for one type alone.

    Args:
        name: as a user gives it.
        quantization: the checkpoint's quantization_config.
        device: the type of the device that the model goes to.
    """
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    return torch.bfloat16 if quantization and _has_kernel(quantization, device) else None


def _has_kernel(quantization: Mapping[str, Any], device: str) -> bool:
    if device != "cpu" or not runs_packed(quantization.get("quant_method")):
        return False
    form = layout_of(quantization).usual.format
    ours = kernels().level is not None
    return (not ours and int4_kernel.is_fast() and int4_kernel.takes_format(form)) or (
        bnb_kernel.is_fast() and bnb_kernel.takes_format(form)
    )


def dtype_name(dtype: torch.dtype) -> str:
    """`float32` for torch.float32."""
    return str(dtype).removeprefix("torch.")


def has_bf16(device: str) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and processor.has_products(torch.bfloat16)


def pick_precision(name: str, device: str) -> Precision:
    """The precision of training's computation; the weights stay float32.

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
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device, torch.bfloat16)


def explain() -> dict[str, str]:
    """What `auto` and the layers choose on this processor, and why."""
    single = "torch's own library"
    if processor.is_x86():
        single = "oneDNN; MKL's product of one row runs on one thread on some processors"
    return {
        "few rows": f"kernels of our own: {kernels()}",
        "float32": single,
        "bfloat16": _sixteen(torch.bfloat16),
        "float16": _sixteen(torch.float16),
        "quantized": _quantized(),
        "attention": f"prompts of {tiles.LEAST_QUERIES} tokens or more in tiles of queries"
        if tiles.are_fast()
        else "torch's fused kernel",
        "training": f"{pick_precision('auto', 'cpu')}, as the processor has "
        f"{'' if has_bf16('cpu') else 'no '}bf16 instructions",
    }


def _quantized() -> str:
    if kernels().level is not None:
        return "kernels of our own for 2, 3, 4 and 8 bits; others are unpacked once at load"
    if int4_kernel.is_fast():
        return "torch's kernel for 4 bits, in bfloat16; others are unpacked once at load"
    return "unpacked once at load"


def _sixteen(dtype: torch.dtype) -> str:
    if processor.has_products(dtype):
        return "16-bit products; the processor has the instructions"
    if not processor.is_x86():
        return "torch's own library"
    return "16-bit products for few rows, then cast to float32 in tiles: it has no instructions"
