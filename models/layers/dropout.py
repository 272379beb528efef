"""Dropout that costs nothing where there is none."""

from __future__ import annotations

from torch import nn


def dropout_of(rate: float) -> nn.Module:
    """`nn.Dropout`, or nothing at a rate of 0: a decoder calls it three times a block."""
    return nn.Dropout(rate) if rate > 0 else nn.Identity()
