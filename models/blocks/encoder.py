"""The post-norm encoder block of BERT and its descendants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from tfcli.models.context import Context
from tfcli.models.folding import Fold
from tfcli.models.layers.activations import activation
from tfcli.models.layers.attention import Attend, split_heads
from tfcli.models.layers.linear import linear
from tfcli.models.layers.norms import layer_norm
from tfcli.models.layers.rotary import Rotary


class SelfAttention(nn.Module):
    """Multi-head attention without the output projection.

    Args:
        hidden_size: d.
        heads: attention heads.
        dropout: on the attention weights.
        backend: name of an attention backend.
        rotary: turns queries and keys; None leaves them.
    """

    divides = True  # each head by itself, see `tensor_parallel`

    def __init__(
        self,
        hidden_size: int,
        heads: int,
        dropout: float,
        backend: str,
        *,
        rotary: Rotary | None = None,
    ) -> None:
        super().__init__()
        self.rotary = rotary
        self.head_dim = hidden_size // heads
        self.query = linear(hidden_size, hidden_size, bias=True)
        self.key = linear(hidden_size, hidden_size, bias=True)
        self.value = linear(hidden_size, hidden_size, bias=True)
        self.attend = Attend(backend, self.head_dim**-0.5, dropout)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        query = split_heads(self.query(x), self.head_dim)
        key = split_heads(self.key(x), self.head_dim)
        value = split_heads(self.value(x), self.head_dim)
        if self.rotary is not None:
            rotation = context.rotation(self.rotary, query.dtype)
            query, key = self.rotary.turn(query, rotation), self.rotary.turn(key, rotation)
        return self.attend(query, key, value, context.full(), context.attentions)


class ResidualOutput(nn.Module):
    """norm(residual + dropout(dense(x))): the end of both halves of a post-norm block."""

    divides = True  # the linear comes first

    def __init__(self, in_size: int, hidden_size: int, dropout: float, eps: float) -> None:
        super().__init__()
        self.dense = linear(in_size, hidden_size, bias=True)
        self.LayerNorm = layer_norm(hidden_size, eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, in_size], residual (Tensor): [b, s, d] -> [b, s, d]"""
        return self.LayerNorm(residual + self.dropout(self.dense(x)))


class AttentionHalf(nn.Module):
    """Self-attention and its residual."""

    def __init__(self, attention: nn.Module, output: ResidualOutput) -> None:
        super().__init__()
        self.self = attention
        self.output = output

    def forward(self, x: torch.Tensor, context: Context, *more: Any) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]. `more` is the attention's own."""
        return self.output(self.self(x, context, *more), x)


class Intermediate(nn.Module):
    """The first linear of the mlp and the activation."""

    divides = True

    def __init__(self, hidden_size: int, intermediate_size: int, act: str) -> None:
        super().__init__()
        self.dense = linear(hidden_size, intermediate_size, bias=True)
        self.act = activation(act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, intermediate_size]"""
        return self.act(self.dense(x))


class EncoderBlock(nn.Module):
    """norm(x + attention(x)), then norm(x + mlp(x)).

    Args:
        hidden_size: d.
        heads: attention heads.
        intermediate_size: width of the mlp.
        act: name of the activation.
        dropout: on what is added to the residual stream.
        attention_dropout: on the attention weights.
        eps: of the layer norms.
        backend: name of an attention backend.
        attention: [b, s, d], the context and what else the block is called with -> [b, s, d], in
            place of `SelfAttention`.
    """

    def __init__(
        self,
        hidden_size: int,
        heads: int,
        intermediate_size: int,
        *,
        act: str,
        dropout: float,
        attention_dropout: float,
        eps: float,
        backend: str,
        attention: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if attention is None:
            attention = SelfAttention(hidden_size, heads, attention_dropout, backend)
        self.attention = AttentionHalf(
            attention, ResidualOutput(hidden_size, hidden_size, dropout, eps)
        )
        self.intermediate = Intermediate(hidden_size, intermediate_size, act)
        self.output = ResidualOutput(intermediate_size, hidden_size, dropout, eps)

    def forward(self, x: torch.Tensor, context: Context, *more: Any) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]. `more` is handed to the attention."""
        x = self.attention(x, context, *more)
        return self.output(self.intermediate(x), x)

    def folds(self) -> Iterator[Fold]:
        """See `folding`. Norms are of the residual stream, which goes everywhere."""
        if isinstance(getattr(self.attention, "self", None), SelfAttention):
            yield Fold("attention.self.value", ("attention.output.dense",))
