"""Self-attention: split into heads, rotate, remember, attend, project."""

from __future__ import annotations

import torch
from torch import nn

from tfcli.models.cache import Cache
from tfcli.models.layers.backends import Backend, attention_weights, get_backend, repeat_heads
from tfcli.models.layers.linear import linear
from tfcli.models.layers.masks import AttentionMask
from tfcli.models.layers.rotary import rotate

Rotation = tuple[torch.Tensor, torch.Tensor]


def split_heads(x: torch.Tensor, head_dim: int) -> torch.Tensor:
    """x (Tensor): [b, s, heads * head_dim] -> [b, heads, s, head_dim]"""
    return x.view(*x.shape[:2], -1, head_dim).transpose(1, 2)


def merge_heads(x: torch.Tensor) -> torch.Tensor:
    """x (Tensor): [b, heads, s, head_dim] -> [b, s, heads * head_dim]"""
    return x.transpose(1, 2).flatten(2)


class Attend(nn.Module):
    """The part of attention that has no parameters.

    Args:
        backend: name of an attention backend.
        scale: factor on the scores.
        dropout: on the attention weights, in training.
    """

    def __init__(self, backend: str, scale: float, dropout: float) -> None:
        super().__init__()
        self.backend: Backend = get_backend(backend)
        self.scale = scale
        self.dropout = dropout

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: AttentionMask,
        attentions: list[torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Mix values by how well their keys match the queries.

        Args:
            query (Tensor): [b, heads, q, head_dim]
            key (Tensor): [b, kv_heads, k, head_dim]
            value (Tensor): [b, kv_heads, k, head_dim]
            mask: which keys each query sees.
            attentions: where to append the weights, [b, heads, q, k]. Fused backends never hold
                them, so asking for them computes this layer step by step.

        Returns:
            [b, q, heads * head_dim]
        """
        dropout = self.dropout if self.training else 0.0
        if attentions is None:
            return merge_heads(self.backend(query, key, value, mask, self.scale, dropout))
        weights = attention_weights(query, key, mask, self.scale)
        weights = nn.functional.dropout(weights, dropout, dropout > 0)
        attentions.append(weights)
        return merge_heads(weights @ repeat_heads(value, query.shape[1]))


class RotaryAttention(nn.Module):
    """Grouped-query attention with rotary positions (Ainslie et al. 2023).

    Args:
        hidden_size: d.
        heads: query heads.
        kv_heads: key and value heads, a divisor of `heads`.
        head_dim: width of a head.
        layer: index of the layer in the cache.
        bias: whether the four projections have one.
        dropout: on the attention weights.
        backend: name of an attention backend.
    """

    def __init__(
        self,
        hidden_size: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        *,
        layer: int,
        bias: bool,
        dropout: float,
        backend: str,
    ) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.layer = layer
        self.q_proj = linear(hidden_size, heads * head_dim, bias)
        self.k_proj = linear(hidden_size, kv_heads * head_dim, bias)
        self.v_proj = linear(hidden_size, kv_heads * head_dim, bias)
        self.o_proj = linear(heads * head_dim, hidden_size, bias)
        self.attend = Attend(backend, head_dim**-0.5, dropout)

    def forward(
        self,
        x: torch.Tensor,
        rotation: Rotation,
        mask: AttentionMask,
        cache: Cache | None = None,
        attentions: list[torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Attend from the new positions to all positions.

        Args:
            x (Tensor): [b, s, d]
            rotation: cosines and sines of the new positions (RotaryEmbedding).
            mask: which keys each query sees.
            cache: holds earlier keys and values and takes the new ones.
            attentions: see `Attend`.

        Returns:
            [b, s, d]
        """
        query = rotate(split_heads(self.q_proj(x), self.head_dim), *rotation)
        key = rotate(split_heads(self.k_proj(x), self.head_dim), *rotation)
        value = split_heads(self.v_proj(x), self.head_dim)
        if cache is not None:
            key, value = cache.update(self.layer, key, value)
        return self.o_proj(self.attend(query, key, value, mask, attentions))
