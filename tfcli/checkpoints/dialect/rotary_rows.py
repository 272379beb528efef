"""The two orders of a head's rows in the matrices of queries and keys.

Rotary positions turn two values of a head together. In Meta's code these are neighbours (0 with 1):
pairs. In Hugging Face's they are half a head apart (0 with head_dim / 2): halves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def to_halves(rows: Tensor, head_dim: int) -> Tensor:
    """Rows of queries or keys from pairs to halves, as a view of one more dimension.

    Args:
        rows (Tensor): [heads * head_dim, ...]
        head_dim: even.

    Returns:
        [heads, 2, head_dim / 2, ...]; reshaped to that of `rows` it is the permuted tensor
    """
    return rows.unflatten(0, (-1, head_dim // 2, 2)).transpose(1, 2)


def to_pairs(rows: Tensor, head_dim: int) -> Tensor:
    """The inverse of `to_halves`: [heads * head_dim, ...] -> [heads, head_dim / 2, 2, ...]."""
    return rows.unflatten(0, (-1, 2, head_dim // 2)).transpose(1, 2)
