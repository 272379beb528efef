"""Figures of two models' logits, computed in float64, a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

_PIECE = 1 << 22  # numbers in float64 at a time


def difference(one: Tensor, other: Tensor) -> tuple[float, float]:
    """The root of the mean square, and the largest, of the differences. [n, c] both."""
    square = largest = 0.0
    for a, b in zip(_pieces(one), _pieces(other), strict=True):
        gap = a - b
        square += float(gap.square().sum())
        largest = max(largest, float(gap.abs().amax()))
    return (square / one.numel()) ** 0.5, largest


def spread(logits: Tensor, *, by_row: bool = False) -> float:
    """The standard deviation of logits [n, c].

    Args:
        by_row: around each row's own mean, which a softmax does not see.
    """
    mean = sum(float(part.sum()) for part in _pieces(logits)) / logits.numel()
    square = 0.0
    for part in _pieces(logits):
        middle = part.mean(-1, keepdim=True) if by_row else mean
        square += float((part - middle).square().sum())
    return (square / logits.numel()) ** 0.5


def ranking(one: Tensor, other: Tensor) -> tuple[float, float]:
    """KL(one || other), nats a row, and the share of rows with the same first. [n, c] both."""
    divergence = same = 0.0
    for a, b in zip(_pieces(one), _pieces(other), strict=True):
        left, right = a.log_softmax(-1), b.log_softmax(-1)
        divergence += float((left.exp() * (left - right)).sum())
        same += float((a.argmax(-1) == b.argmax(-1)).sum())
    return max(0.0, divergence / len(one)), same / len(one)


def _pieces(logits: Tensor) -> Iterator[Tensor]:
    """Rows in float64, a few at a time."""
    step = max(1, _PIECE // logits.shape[-1])
    return (part.double() for part in logits.split(step))
