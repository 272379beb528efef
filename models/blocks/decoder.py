"""The pre-norm decoder block of Llama and its descendants."""

from __future__ import annotations

import torch
from torch import nn

from tfcli.models.context import Context


class DecoderBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    Args:
        attention: [b, s, d] and the context -> [b, s, d], such as `RotaryAttention`.
        mlp: [b, s, d] -> [b, s, d]
        input_norm: before attention.
        post_attention_norm: before the mlp.
    """

    def __init__(
        self,
        attention: nn.Module,
        mlp: nn.Module,
        input_norm: nn.Module,
        post_attention_norm: nn.Module,
    ) -> None:
        super().__init__()
        self.self_attn = attention
        self.mlp = mlp
        self.input_layernorm = input_norm
        self.post_attention_layernorm = post_attention_norm

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        x = x + self.self_attn(self.input_layernorm(x), context)
        return x + self.mlp(self.post_attention_layernorm(x))
