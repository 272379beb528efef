"""How far two tensors, or two configs, are apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tfcli.checkpoints.io.file_tensor import Values
from tfcli.checkpoints.io.tensor_pieces import pieces
from tfcli.diff.spec import ConfigDifference

_NARROW = (torch.float32, torch.float16, torch.bfloat16)


@dataclass
class Distance:
    """How two tensors of one shape differ.

    Args:
        changed: values that differ.
        largest: absolute difference of finite values.
        scale: largest absolute finite value on either side.
        not_finite: values that are NaN or infinite on one side and something else on the other.
    """

    changed: int = 0
    largest: float = 0.0
    scale: float = 0.0
    not_finite: int = 0

    @property
    def relative(self) -> float:
        """`largest` over `scale`: 0 for equal values, at most 2."""
        return self.largest / self.scale if self.largest else 0.0


def distance(a: Values, b: Values) -> Distance | None:
    """Compare two tensors of one shape and any types; None for types that hold no plain numbers.

    A few pieces in fp32 are held, never a whole tensor; wider types are compared in fp64, and
    integers as integers: fp64 does not hold all of 64 bits.
    """
    if not (_numeric(a.dtype) and _numeric(b.dtype)):
        return None
    found = Distance()
    if _whole(a.dtype) and _whole(b.dtype):
        for one, other in pieces(a, b):
            _add_whole(found, one, other)
        return found
    wide = torch.float32 if a.dtype in _NARROW and b.dtype in _NARROW else torch.float64
    for one, other in pieces(a, b):
        if not _add_finite(found, one.to(wide), other.to(wide)):
            _add_any(found, one.to(torch.float64), other.to(torch.float64))
    return found


def _numeric(dtype: torch.dtype) -> bool:
    # Packed 4-bit floats have no arithmetic in torch.
    return not dtype.is_complex and dtype != getattr(torch, "float4_e2m1fn_x2", None)


def _whole(dtype: torch.dtype) -> bool:
    return not dtype.is_floating_point


def _add_whole(found: Distance, one: Tensor, other: Tensor) -> None:
    """Take one piece of integers into account."""
    if not one.numel():
        return
    (high, low), (other_high, other_low) = _halves(one), _halves(other)
    above, below = high - other_high, low - other_low
    found.changed += int(torch.count_nonzero((above != 0) | (below != 0)))
    gap = (above.double() * 2**32 + below.double()).abs()
    found.largest = max(found.largest, gap.max().item())
    scale = max(
        float((h.double() * 2**32 + w).abs().max())
        for h, w in ((high, low), (other_high, other_low))
    )
    found.scale = max(found.scale, scale)


def _halves(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """The upper and the lower 32 bits of integers of any type, as int64."""
    unsigned = tensor.dtype == torch.uint64
    wide = tensor.view(torch.int64) if unsigned else tensor.to(torch.int64)
    high = wide >> 32
    return (high & 0xFFFFFFFF if unsigned else high), wide & 0xFFFFFFFF


def _add_finite(found: Distance, one: Tensor, other: Tensor) -> bool:
    """Take one piece into account; False, and nothing is, when a number in it is not finite."""
    if not one.numel():
        return True
    gap = (one - other).abs_()
    largest = gap.max().item()
    scale = max(abs(v.item()) for v in (*one.aminmax(), *other.aminmax()))
    if not largest < float("inf") or not scale < float("inf"):  # also for NaN
        return False
    found.changed += int(torch.count_nonzero(gap))
    found.largest, found.scale = max(found.largest, largest), max(found.scale, scale)
    return True


def _add_any(found: Distance, one: Tensor, other: Tensor) -> None:
    same = (one == other) | (one.isnan() & other.isnan())
    finite = one.isfinite() & other.isfinite()
    found.changed += int((~same).sum())
    found.not_finite += int((~same & ~finite).sum())
    if finite.any():
        one, other = one[finite], other[finite]
        # fp64 values whose difference overflows are as far apart as floats can be.
        largest = min((one - other).abs().max().item(), torch.finfo(torch.float64).max)
        scale = max(one.abs().max().item(), other.abs().max().item())
        found.largest, found.scale = max(found.largest, largest), max(found.scale, scale)


def compare_configs(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[ConfigDifference]:
    """The keys whose values differ, nested objects by dotted keys, in A's order and then B's."""
    first, second = _flat(a), _flat(b)
    found = []
    for key in dict.fromkeys([*first, *second]):
        one, other = first.get(key), second.get(key)
        only = "b" if key not in first else "a" if key not in second else None
        if only or _spelt(one) != _spelt(other):
            found.append(ConfigDifference(key=key, only=only, a=one, b=other))
    return found


def _spelt(value: Any) -> str:
    """A value as JSON, in which true is not 1; a whole number is one however it is written."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
