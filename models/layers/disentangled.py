"""Disentangled attention (He et al. 2021, DeBERTa): content and relative position apart.

Reference: transformers `modeling_deberta_v2.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from tfcli.models.context import Context
from tfcli.models.layers.attention import Attend, split_heads
from tfcli.models.layers.linear import linear


@dataclass(eq=False)
class Relative:
    """What the layers of one forward pass know of relative positions.

    Args:
        table (Tensor): [1, rows, d], the embedding of each relative position.
        index (Tensor): int64 [q, k], the row for each pair of a query and a key.
    """

    table: torch.Tensor
    index: torch.Tensor


class DisentangledAttention(nn.Module):
    """Multi-head attention without the output projection; relative positions move its scores.

    The score of query i and key j, with r the row of their distance, is

        (q_i . k_j  +  q_i . K(r)  +  Q(r) . k_j) * scale

    where K and Q project the table of relative positions.

    Args:
        hidden_size: d.
        heads: attention heads.
        dropout: on the attention weights.
        backend: name of an attention backend.
        to_position: the scores have the second term (`c2p`, content to position).
        from_position: the scores have the third term (`p2c`).
        relative: the layer is called with a table. Without one the terms are missing, but still
            count in the scale.
        shared: K and Q are the projections of keys and queries.
        table_dropout: on the table.

    Class attributes:
        projections: names of what makes queries, keys and values.
        of_table: names of what makes K and Q.
    """

    projections: ClassVar[tuple[str, ...]] = ("query_proj", "key_proj", "value_proj")
    of_table: ClassVar[tuple[str, str]] = ("pos_key_proj", "pos_query_proj")

    def __init__(
        self,
        hidden_size: int,
        heads: int,
        dropout: float,
        backend: str,
        *,
        to_position: bool,
        from_position: bool,
        relative: bool,
        shared: bool,
        table_dropout: float,
    ) -> None:
        super().__init__()
        self.head_dim = hidden_size // heads
        self.to_position = to_position
        self.from_position = from_position
        self.shared = shared
        self.add_projections(hidden_size)
        if relative and not shared:
            for name, there in zip(self.of_table, (to_position, from_position), strict=True):
                if there:
                    self.add_module(name, linear(hidden_size, hidden_size, self.biased(name)))
        self.pos_dropout = nn.Dropout(table_dropout)
        terms = 1 + to_position + from_position
        self.attend = Attend(backend, (self.head_dim * terms) ** -0.5, dropout)

    def add_projections(self, size: int) -> None:
        """Make what `heads` uses, for states of this width."""
        for name in self.projections:
            self.add_module(name, linear(size, size, bias=True))

    def biased(self, name: str) -> bool:
        """Whether a linear of `of_table` has a bias."""
        return True

    def heads(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """x (Tensor): [b, s, d] -> queries, keys and values, each [b, heads, s, head_dim]"""
        made = (getattr(self, name)(x) for name in self.projections)
        return tuple(split_heads(each, self.head_dim) for each in made)

    def forward(
        self, x: torch.Tensor, context: Context, relative: Relative | None = None
    ) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        query, key, value = self.heads(x)
        mask = context.full()
        if relative is not None and (self.to_position or self.from_position):
            mask = mask.with_bias(self.bias(query, key, relative))
        return self.attend(query, key, value, mask, context.attentions)

    def bias(self, query: torch.Tensor, key: torch.Tensor, relative: Relative) -> torch.Tensor:
        """What relative positions add to the scaled scores.

        Args:
            query (Tensor): [b, heads, q, head_dim]
            key (Tensor): [b, heads, k, head_dim]
            relative: table and rows.

        Returns:
            [b, heads, q, k]
        """
        table = self.pos_dropout(relative.table)
        index = relative.index.expand(*query.shape[:2], -1, -1)
        names = (self.projections[1], self.projections[0]) if self.shared else self.of_table
        parts = []
        if self.to_position:
            rows = split_heads(getattr(self, names[0])(table), self.head_dim)
            parts.append((query @ rows.transpose(-1, -2)).gather(-1, index))
        if self.from_position:
            rows = split_heads(getattr(self, names[1])(table), self.head_dim)
            parts.append((rows @ key.transpose(-1, -2)).gather(-2, index))
        return sum(parts[1:], parts[0]) * self.attend.scale


def relative_rows(
    length: int, span: int, buckets: int, limit: int, device: torch.device
) -> torch.Tensor:
    """The row of the table for each pair of positions.

    Args:
        length: s.
        span: the table has 2 * span rows; distances beyond it count as the farthest.
        buckets: see `log_buckets`; 0 takes distances as they are.
        limit: see `log_buckets`.
        device: of the result.

    Returns:
        int64 [s, s]
    """
    distances = torch.arange(1 - length, length, device=device)
    if buckets:
        distances = log_buckets(distances, buckets, limit)
    rows = (distances + span).clamp(0, 2 * span - 1)
    at = torch.arange(length, device=device)
    return rows[at[:, None] - at + length - 1]


def log_buckets(distances: torch.Tensor, buckets: int, limit: int) -> torch.Tensor:
    """Group far distances, more of them the farther they are.

    Distances up to buckets / 2 stay as they are; from there on buckets grow with the logarithm,
    so that `limit - 1` falls into the last one. Computed in float32 in the order of the reference
    implementation, since a distance at the border of two buckets depends on the rounding.

    Args:
        distances (Tensor): int64, of any shape.
        buckets: in each direction.
        limit: positions.

    Returns:
        int64, of the same shape
    """
    middle = buckets // 2
    far = distances.abs().clamp(min=middle)
    steps = torch.log(far / middle) / torch.log(torch.tensor((limit - 1) / middle))
    grouped = torch.ceil(steps * (middle - 1)) + middle
    grouped = (grouped * distances.sign()).long()
    return torch.where(distances.abs() <= middle, distances, grouped)
