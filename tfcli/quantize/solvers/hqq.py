"""HQQ: zero points by a half-quadratic solver, which forgives a few large errors.

What is made small is the sum of |W - Q|^0.7, without any data. Each step rounds, takes the part of
the errors that a norm below 1 would leave alone out of them, and moves the zero point by the mean
of the rest. Source: Badri and Shaji, "Half-Quadratic Quantization of Large Machine Learning Models"
(2023); starting point and constants as in hqq 0.2.8, `core/optimize.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tfcli.models.layouts.hqq import HQQFormat, Strided
from tfcli.models.layouts.values import Affine

NORM = 0.7
STEPS = 20
_BETA, _KAPPA = 10.0, 1.01
_LARGEST_FACTOR = 2e4
"""Levels in a unit of weight: more would need scales that fp16 does not hold."""

_LARGEST_ZERO = 6e4
"""In fp16 as well."""

_OFFSETS = (-3 / 8, -1 / 4, -1 / 8, -1 / 16, 1 / 16, 1 / 8, 1 / 4, 3 / 8)
"""Zero points around the best one that are tried at last, in levels: the objective has many dips,
and the types that store zero points pass some by."""

_PIECE = 1 << 19
"""Weights that are worked on at a time: their temporaries stay in the processor's cache."""


def half_quadratic(weight: Tensor, form: HQQFormat) -> Affine | Strided:
    """Quantize one weight.

    Args:
        weight (Tensor): [m, n] in any float type, whose groups are whole.
        form: what is made of it; scales and zero points are rounded as it stores them.
    """
    m, n = weight.shape
    cut = weight.float().reshape(form.cut(n, m))
    groups = cut if form.axis == 1 else cut.t()
    dtype: torch.dtype = getattr(torch, form.compute)
    done = [
        _solve(part, form.bits, dtype) for part in groups.split(max(1, _PIECE // groups.shape[1]))
    ]
    levels, scales, zeros = (torch.cat(parts) for parts in zip(*done, strict=True))
    levels = (levels if form.axis == 1 else levels.t()).reshape(m, n)
    if form.axis == 1 and len(scales) % m == 0:
        shape = (m, len(scales) // m)
        return Affine(levels, scales.view(shape), zeros.view(shape), form.bits, groups.shape[1])
    return Strided(levels, scales, zeros, form.axis)


def cost(errors: Tensor) -> Tensor:
    """The objective of each row of errors: the sum of |error|^0.7, [rows]."""
    return errors.abs().pow_(NORM).sum(dim=1)


def _solve(weight: Tensor, bits: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Levels, scales and zero points of groups, the rows of a matrix.

    Every zero point on the way is rounded as it is stored, and the best one of each group is kept:
    the last steps need not be the best ones.
    """
    top = (1 << bits) - 1
    low, high = weight.aminmax(dim=1, keepdim=True)
    span = high - low
    factor = torch.where(span > 0, top / span, 1.0).clamp_(max=_LARGEST_FACTOR)
    # A group that is far from zero for its width has fewer levels, or no type holds its zero point.
    factor = torch.minimum(factor, _LARGEST_ZERO / torch.maximum(low.abs(), high.abs()))
    scale = (1 / factor).to(dtype).float()
    zero = -low * factor
    best = _Best(weight, scale, top, dtype)
    best.offer(zero)
    if bits == 4:
        zero = zero.round()
    beta = _BETA
    for _ in range(STEPS):
        levels = best.offer(zero)
        errors = weight - (levels - zero) * scale
        zero = (levels - (weight - _shrunk(errors, beta)) / scale).mean(dim=1, keepdim=True)
        beta *= _KAPPA
    best.offer(zero)
    found = best.zero
    for offset in _OFFSETS:
        best.offer(found + offset)
    levels = best.levels(best.zero).to(torch.uint8)
    return levels, scale.to(dtype).view(-1), best.zero.to(dtype).view(-1)


class _Best:
    """The best zero point of each group so far."""

    def __init__(self, weight: Tensor, scale: Tensor, top: int, dtype: torch.dtype) -> None:
        self.weight, self.scale, self.top, self.dtype = weight, scale, top, dtype
        self.scaled = weight / scale
        self.zero = torch.zeros_like(scale)
        self.cost = torch.full((len(weight),), torch.inf, device=weight.device)

    def levels(self, zero: Tensor) -> Tensor:
        """The nearest levels: fp32 like the weight."""
        return (self.scaled + zero).round_().clamp_(0, self.top)

    def offer(self, zero: Tensor) -> Tensor:
        """Keep a zero point, as it is stored, where it is better; gives the levels by it."""
        stored = zero.to(self.dtype).float()
        levels = self.levels(stored)
        found = cost((levels - stored) * self.scale - self.weight)
        better = found < self.cost
        self.cost = torch.where(better, found, self.cost)
        self.zero = torch.where(better[:, None], stored, self.zero)
        return levels


def _shrunk(errors: Tensor, beta: float) -> Tensor:
    """What the norm leaves of errors: sign(e) max(|e| - |e|^(p-1) / beta, 0)."""
    size = errors.abs()
    return (size - size.pow(NORM - 1) / beta).clamp_(min=0).mul_(errors.sign())
