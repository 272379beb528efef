"""Self-attention: split into heads, rotate, remember, attend, project."""

from __future__ import annotations

import torch
from torch import nn

from tfcli.models.context import Context
from tfcli.models.layers.backends import (
    Backend,
    Scores,
    attention_weights,
    get_backend,
    repeat_heads,
)
from tfcli.models.layers.linear import linear
from tfcli.models.layers.masks import AttentionMask
from tfcli.models.layers.rotary import Rotary


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
        softcap: see `Scores`.
    """

    def __init__(
        self, backend: str, scale: float, dropout: float = 0.0, *, softcap: float | None = None
    ) -> None:
        super().__init__()
        self.backend: Backend = get_backend(backend)
        self.scale = scale
        self.dropout = dropout
        self.softcap = softcap

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: AttentionMask,
        attentions: list[torch.Tensor] | None = None,
        sinks: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Mix values by how well their keys match the queries.

        Args:
            query (Tensor): [b, heads, q, head_dim]
            key (Tensor): [b, kv_heads, k, head_dim]
            value (Tensor): [b, kv_heads, k, value_dim]
            mask: which keys each query sees.
            attentions: where to append the weights, [b, heads, q, k]. Fused backends never hold
                them, so asking for them computes this layer step by step.
            sinks (Tensor): [heads]; see `Scores`.

        Returns:
            [b, q, heads * value_dim]
        """
        scores = Scores(self.scale, self.dropout if self.training else 0.0, self.softcap, sinks)
        if attentions is None:
            return merge_heads(self.backend(query, key, value, mask, scores))
        weights = attention_weights(query, key, mask, scores)
        weights = nn.functional.dropout(weights, scores.dropout, scores.dropout > 0)
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
        rotary: turns queries and keys; None leaves them, in layers without positions.
        backend: name of an attention backend.
        bias: whether the projections of queries, keys and values have one.
        out_bias: whether the output projection has one; None: as the others.
        dropout: on the attention weights.
        scale: factor on the scores; None: head_dim ** -0.5.
        softcap: see `Scores`.
        window: keys that a query sees; None: all before it.
        q_norm: applied to each query head, [..., head_dim], before it is turned.
        k_norm: the same for keys.
    """

    def __init__(
        self,
        hidden_size: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        *,
        layer: int,
        rotary: Rotary | None,
        backend: str,
        bias: bool = False,
        out_bias: bool | None = None,
        dropout: float = 0.0,
        scale: float | None = None,
        softcap: float | None = None,
        window: int | None = None,
        q_norm: nn.Module | None = None,
        k_norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.layer = layer
        self.rotary = rotary
        self.window = window
        self.q_proj = linear(hidden_size, heads * head_dim, bias)
        self.k_proj = linear(hidden_size, kv_heads * head_dim, bias)
        self.v_proj = linear(hidden_size, kv_heads * head_dim, bias)
        self.o_proj = linear(heads * head_dim, hidden_size, bias if out_bias is None else out_bias)
        self.q_norm = q_norm
        self.k_norm = k_norm
        self.attend = Attend(
            backend, head_dim**-0.5 if scale is None else scale, dropout, softcap=softcap
        )

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """x (Tensor): [b, s, d] -> queries, keys and values, each [b, s, heads * head_dim].

        A family whose projections are fused or normalised as a whole has its own.
        """
        return self.q_proj(x), self.k_proj(x), self.v_proj(x)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Attend from the new positions to all positions. x (Tensor): [b, s, d] -> [b, s, d]"""
        query, key, value = (split_heads(part, self.head_dim) for part in self.project(x))
        if self.q_norm is not None:
            query = self.q_norm(query)
        if self.k_norm is not None:
            key = self.k_norm(key)
        if self.rotary is not None:
            rotation = context.rotation(self.rotary, query.dtype)
            query, key = self.rotary.turn(query, rotation), self.rotary.turn(key, rotation)
        mask = context.causal(self.layer, window=self.window)
        key, value = context.remember(self.layer, key, value)
        return self.o_proj(self.attend(query, key, value, mask, context.attentions))
