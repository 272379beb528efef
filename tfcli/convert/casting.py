"""Changing the type of weights, in pieces and without losing a value to infinity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from tfcli.checkpoints.dtypes import FLOATS, torch_dtype
from tfcli.checkpoints.safetensors import raw_bytes
from tfcli.checkpoints.strict_json import short
from tfcli.convert.view import View
from tfcli.errors import WorkError

_PIECE = 1 << 22  # elements: comparisons need a few of these beside the tensor itself


def target_dtypes(
    source: View, wanted: str | None, quantization: Mapping[str, Any] | None
) -> dict[str, str]:
    """The dtype code that each tensor is to have.

    Plain floating-point tensors are cast. Integers, booleans and 8-bit floats stay, and so do, in
    a quantized checkpoint, the scales and other numbers that belong to a quantized tensor: those
    in the same module (`x.scales` beside `x.qweight`) and those below it (`x.weight.absmax`).

    Args:
        source: the view of the checkpoint.
        wanted: a code such as `BF16`, or None to keep every type.
        quantization: the config's quantization_config.
    """
    packed = {info.name for info in source if info.dtype not in FLOATS}
    owners = {name.rpartition(".")[0] for name in packed} | packed if quantization else set()
    targets = {}
    for info in source:
        plain = info.dtype in FLOATS and info.name.rpartition(".")[0] not in owners
        targets[info.name] = wanted if wanted is not None and plain else info.dtype
    return targets


def cast(tensor: Tensor, code: str, name: str) -> Tensor:
    """A tensor in another type; the tensor itself when it has that type.

    Raises:
        WorkError: a finite value becomes infinite; names the tensor and its largest value.
    """
    dtype = torch_dtype(code, where=short(name))
    if tensor.dtype == dtype:
        return tensor
    result = tensor.to(dtype)
    limit = torch.finfo(dtype).max
    if torch.finfo(tensor.dtype).max <= limit or _within(tensor, limit):
        return result
    for before, after in zip(_pieces(tensor), _pieces(result), strict=True):
        if (after.isinf() & before.isfinite()).any():
            largest = before[before.isfinite()].abs().max().item()
            raise WorkError(
                f"{short(name)}: {largest:g} is too large for {str(dtype).removeprefix('torch.')} "
                f"(at most {limit:g})",
                where="dtype",
                fix="choose bf16 or fp32",
            )
    return result


def _within(tensor: Tensor, limit: float) -> bool:
    """Whether all values are numbers of at most `limit`: one pass, no memory."""
    if not tensor.numel():
        return True
    low, high = (value.item() for value in tensor.aminmax())
    return -limit <= low and high <= limit  # false for NaN


def same_after_cast(before: Tensor, after: Tensor) -> bool:
    """Whether `after` holds, bit for bit, what casting `before` to its type gives."""
    if before.shape != after.shape:
        return False
    return all(
        torch.equal(raw_bytes(old.to(new.dtype)), raw_bytes(new))
        for old, new in zip(_pieces(before), _pieces(after), strict=True)
    )


def _pieces(tensor: Tensor) -> Iterator[Tensor]:
    return iter(tensor.reshape(-1).split(_PIECE))
