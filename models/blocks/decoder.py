"""The pre-norm decoder block of Llama and its descendants."""

from __future__ import annotations

import torch
from torch import nn

from tfcli.models.context import Context
from tfcli.models.layers.dropout import dropout_of


class DecoderBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    Args:
        attention: [b, s, d] and the context -> [b, s, d], such as `RotaryAttention`.
        mlp: [b, s, d] -> [b, s, d]
        input_norm: before attention.
        post_attention_norm: before the mlp.
        dropout: on what both halves add to the residual stream.
        scale: factor on what both halves add.
    """

    def __init__(
        self,
        attention: nn.Module,
        mlp: nn.Module,
        input_norm: nn.Module,
        post_attention_norm: nn.Module,
        *,
        dropout: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.self_attn = attention
        self.mlp = mlp
        self.input_layernorm = input_norm
        self.post_attention_layernorm = post_attention_norm
        self.dropout = dropout_of(dropout)
        self.scale = scale

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        added = self.dropout(self.self_attn(self.input_layernorm(x), context))
        x = torch.add(x, added, alpha=self.scale)
        added = self.dropout(self.mlp(self.post_attention_layernorm(x)))
        return torch.add(x, added, alpha=self.scale)
