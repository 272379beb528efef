"""The pre-norm decoder block with a mixture of experts."""

from __future__ import annotations

import torch
from torch import nn

from tfcli.models.context import Context


class SparseBlock(nn.Module):
    """x + attention(norm(x)), then x + mixture(norm(x)).

    Args:
        attention: [b, s, d] and the context -> [b, s, d]
        mixture: [b, s, d] and the context -> [b, s, d], such as `MixtureOfExperts`.
        input_norm: before attention.
        post_attention_norm: before the mixture.
        name: what checkpoints call the mixture.
    """

    def __init__(
        self,
        attention: nn.Module,
        mixture: nn.Module,
        input_norm: nn.Module,
        post_attention_norm: nn.Module,
        *,
        name: str = "mlp",
    ) -> None:
        super().__init__()
        self.name = name
        self.self_attn = attention
        self.add_module(name, mixture)
        self.input_layernorm = input_norm
        self.post_attention_layernorm = post_attention_norm

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        x = x + self.self_attn(self.input_layernorm(x), context)
        return x + getattr(self, self.name)(self.post_attention_layernorm(x), context)
