"""The decoder block of Gemma 2: a norm before and after each half."""

from __future__ import annotations

import torch
from torch import nn

from tfcli.models.context import Context


class SandwichBlock(nn.Module):
    """x + norm(attention(norm(x))), then x + norm(mlp(norm(x))).

    Args:
        attention: [b, s, d] and the context -> [b, s, d], such as `RotaryAttention`.
        mlp: [b, s, d] -> [b, s, d]
        input_norm: before attention.
        post_attention_norm: after attention.
        pre_mlp_norm: before the mlp.
        post_mlp_norm: after the mlp.
    """

    def __init__(
        self,
        attention: nn.Module,
        mlp: nn.Module,
        input_norm: nn.Module,
        post_attention_norm: nn.Module,
        pre_mlp_norm: nn.Module,
        post_mlp_norm: nn.Module,
    ) -> None:
        super().__init__()
        self.self_attn = attention
        self.mlp = mlp
        self.input_layernorm = input_norm
        self.post_attention_layernorm = post_attention_norm
        self.pre_feedforward_layernorm = pre_mlp_norm
        self.post_feedforward_layernorm = post_mlp_norm

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        attended = self.self_attn(self.input_layernorm(x), context)
        x = x + self.post_attention_layernorm(attended)
        return x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))
