"""The mean of tensors, and the arc between two, in pieces and in float32.

Spherical interpolation follows Shoemake, "Animating Rotation with Quaternion Curves" (1985), with
each tensor as one vector. Between vectors that are nearly parallel or opposite it is the mean, as
in mergekit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tfcli.checkpoints.io.file_tensor import Values
from tfcli.checkpoints.io.tensor_pieces import fill, pieces

PARALLEL = 0.9995
"""Cosine from which on the arc is a line, for all that its formula can tell in float32."""


def mean(
    tensors: Sequence[Values], shares: Sequence[float], dtype: torch.dtype, name: str
) -> Tensor:
    """The sum of `tensors` times `shares`, rounded once to `dtype`; float64 is summed as such."""
    wide = torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32
    result = torch.empty(tensors[0].shape, dtype=dtype)
    for target, first, *others in pieces(result, *tensors):
        total = first.to(wide) * shares[0]
        for part, share in zip(others, shares[1:], strict=True):
            total.add_(part.to(wide), alpha=share)
        fill(target, total, name)
    return result


def arc(a: Values, b: Values, share: float) -> tuple[list[float], float]:
    """What two tensors count at `share` of the way from `a` to `b` on the arc between them.

    Returns:
        the two factors, and the angle in degrees
    """
    inner, lengths = 0.0, [0.0, 0.0]
    for one, other in pieces(a, b):
        one, other = one.double(), other.double()
        inner += float(one @ other)
        lengths = [lengths[0] + float(one @ one), lengths[1] + float(other @ other)]
    straight = [1 - share, share]
    if not all(lengths):
        return straight, 0.0
    cosine = max(-1.0, min(1.0, inner / math.sqrt(lengths[0] * lengths[1])))
    angle = math.acos(cosine)
    if abs(cosine) > PARALLEL:
        return straight, math.degrees(angle)
    factors = [math.sin(part * angle) / math.sin(angle) for part in straight]
    return factors, math.degrees(angle)
