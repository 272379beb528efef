"""Attention of many queries on an x86 processor: a tile of queries at a time.

torch's fused kernel multiplies blocks that are too small for the libraries below it, and leaves
two thirds of a core's rate unused. Here a tile of queries of all heads meets all the keys that it
may see in one batched product, which oneDNN and MKL are good at, and scores of keys that come
later are never computed. Milliseconds on one core of an AMD EPYC (Zen 5), 512 causal queries and
keys, and after the bar with both libraries held to AVX2:

    heads, kv heads, width    fp32: fused    tiles        bf16: fused    tiles
    9, 3, 64                  7.0 | 7.2      4.5 | 5.1    6.9 | 7.6      3.8 | 5.3
    32, 8, 64                  24 | 26        17 | 17      25 | 27        12 | 19
    16, 8, 128                 23 | 24        15 | 16      24 | 25        11 | 17

Scores and their softmax are float32, as in the fused kernel. So are the weights that multiply the
values, except where the processor has products of the values' own type.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tfcli.models import processor

ROWS = 128
"""Rows of one product: the queries of a tile times the query heads of a key head."""

LEAST_QUERIES = 64
"""With fewer there is nothing to gain."""

MOST_SCORES = 1 << 24
"""Scores of one tile, 64 MB: what a longer text takes more for is left to the fused kernel."""


def are_fast() -> bool:
    """Whether this processor gains by tiles. With AMX, which the fused kernel multiplies by, they
    are not measured."""
    return processor.is_x86() and "amx_bf16" not in processor.features()


def fits_tiles(query: Tensor, key: Tensor) -> bool:
    """Whether there are enough queries to gain by tiles, and few enough keys for their memory."""
    batch, heads, queries, _ = query.shape
    rows = heads * _height(query, key)
    return queries >= LEAST_QUERIES and batch * rows * key.shape[2] <= MOST_SCORES


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool) -> Tensor:
    """softmax(scale * Q K^T) V. Autograd does not see through.

    query (Tensor): [b, heads, q, n]; key (Tensor): [b, kv_heads, k, n]; value (Tensor): [b,
    kv_heads, k, m] -> [b, heads, q, m] in query's dtype. With `causal`, query i sees keys 0..i.
    """
    batch, heads, queries, _ = query.shape
    kv_heads, keys = key.shape[1:3]
    group, height = heads // kv_heads, _height(query, key)
    key, value = key.float().flatten(0, 1), value.flatten(0, 1)
    if not processor.has_products(value.dtype):
        value = value.float()
    # Heads are cut out of a linear's output, so that rows and heads need not lie side by side.
    scaled = (query.float() * scale).reshape(batch * kv_heads, group, queries, -1)
    out = query.new_empty(batch, heads, queries, value.shape[-1])
    parts = out.view(batch * kv_heads, group, queries, -1)
    later = torch.ones(height, height, dtype=torch.bool).triu(1)
    for start in range(0, queries, height):
        tile = scaled[:, :, start : start + height]
        count = tile.shape[2]
        seen = start + count if causal else keys
        scores = torch.bmm(tile.flatten(1, 2), key[:, :seen].transpose(1, 2))
        if causal:
            square = scores.view(-1, count, seen)[..., start:]
            square.masked_fill_(later[:count, :count], float("-inf"))
        found = torch.bmm(scores.softmax(-1).to(value.dtype), value[:, :seen])
        parts[:, :, start : start + count] = found.view(-1, group, count, found.shape[-1])
    return out


def _height(query: Tensor, key: Tensor) -> int:
    """The queries of one tile."""
    return max(16, ROWS * key.shape[1] // query.shape[1])
