"""Learned attention biases by distance (Raffel et al. 2020, T5).

Reference: `_relative_position_bucket` of Mesh TensorFlow's `transformer_layers.py`.
"""

from __future__ import annotations

import math

import torch

from tfcli.models.layers.embeddings import Embedding


class RelativeBias(Embedding):
    """A table [buckets, heads] of what is added to the score of a key, by how far away it is.

    Args:
        buckets: distances that are told apart.
        heads: attention heads.
        max_distance: from here on all distances are alike.
        bidirectional: keys after the query have buckets of their own; otherwise they share that of
            distance 0, since a decoder's mask hides them.
    """

    def __init__(self, buckets: int, heads: int, max_distance: int, bidirectional: bool) -> None:
        super().__init__(buckets, heads)
        self.max_distance = max_distance
        self.bidirectional = bidirectional

    def forward(self, queries: int, keys: int) -> torch.Tensor:  # type: ignore[override]
        """The bias of the last `queries` positions among `keys`.

        Returns:
            [1, heads, queries, keys], to be given to `AttentionMask.with_bias`
        """
        if torch.compiler.is_exporting():  # a graph has no windows of a width that is not known
            key_at = torch.arange(keys, device=self.weight.device)
            return self.between(key_at[keys - queries :], key_at)
        # Along a diagonal all is alike, so each distance is looked up once, from the nearest end of
        # the first key to the farthest of the last. The rows are windows of that list. They are
        # made in float32 because their gradients add up along the diagonals.
        distances = torch.arange(1 - keys, queries, device=self.weight.device)
        found = bucket_of(distances, self.num_embeddings, self.max_distance, self.bidirectional)
        values = super().forward(found).t().float()
        rows = values.unfold(-1, keys, 1).flip(1)
        return rows[None].to(self.weight.dtype)

    def between(self, query_at: torch.Tensor, key_at: torch.Tensor) -> torch.Tensor:
        """The bias of places that may be any.

        Args:
            query_at (Tensor): int64 [q]
            key_at (Tensor): int64 [k]

        Returns:
            [1, heads, q, k]
        """
        distances = key_at - query_at[:, None]
        found = bucket_of(distances, self.num_embeddings, self.max_distance, self.bidirectional)
        return super().forward(found).permute(2, 0, 1)[None]


def bucket_of(
    distances: torch.Tensor, buckets: int, max_distance: int, bidirectional: bool
) -> torch.Tensor:
    """Number the distances: small ones one by one, larger ones in ever wider ranges.

    Args:
        distances (Tensor): int64, position of the key minus that of the query.
        buckets: how many there are.
        max_distance: from here on all distances have the last one.
        bidirectional: whether half of them are for keys after the query.

    Returns:
        int64, of the same shape, each below `buckets`
    """
    first = torch.zeros_like(distances)
    if bidirectional:
        buckets //= 2
        first = (distances > 0) * buckets
        distances = distances.abs()
    else:
        distances = -distances.clamp(max=0)
    exact = buckets // 2
    growth = torch.log(distances.float().clamp(min=1) / exact) / math.log(max_distance / exact)
    wide = (exact + (growth * (buckets - exact)).long()).clamp(max=buckets - 1)
    return first + torch.where(distances < exact, distances, wide)
