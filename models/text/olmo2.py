"""OLMo 2 (OLMo team 2024): Llama with norms after attention and mlp, and on queries and keys.

Reference: transformers `modeling_olmo2.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tfcli.models.configs.olmo2 import Olmo2Config
from tfcli.models.context import Context
from tfcli.models.layers.norms import RMSNormRoundedLast
from tfcli.models.text.llama import LlamaModel


class Olmo2Block(nn.Module):
    """x + norm(attention(x)), then x + norm(mlp(x)).

    Args:
        attention: [b, s, d] and the context -> [b, s, d]
        mlp: [b, s, d] -> [b, s, d]
        attention_norm: after attention.
        mlp_norm: after the mlp.
    """

    def __init__(
        self,
        attention: nn.Module,
        mlp: nn.Module,
        attention_norm: nn.Module,
        mlp_norm: nn.Module,
    ) -> None:
        super().__init__()
        self.self_attn = attention
        self.mlp = mlp
        self.post_attention_layernorm = attention_norm
        self.post_feedforward_layernorm = mlp_norm

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        x = x + self.post_attention_layernorm(self.self_attn(x, context))
        return x + self.post_feedforward_layernorm(self.mlp(x))


class Olmo2Model(LlamaModel):
    """Llama's body with OLMo 2's blocks."""

    config: Olmo2Config

    def make_norm(self) -> nn.Module:
        """See `LlamaModel.make_norm`."""
        return RMSNormRoundedLast(self.config.hidden_size, self.config.rms_norm_eps)

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        config = self.config
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        return {
            "bias": config.attention_bias,
            "q_norm": RMSNormRoundedLast(heads * config.head_dim, config.rms_norm_eps),
            "k_norm": RMSNormRoundedLast(kv_heads * config.head_dim, config.rms_norm_eps),
            "norm_whole": True,
        }

    def make_block(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_block`."""
        return Olmo2Block(
            self.make_attention(layer),
            self.make_mlp(layer),
            self.make_norm(),
            self.make_norm(),
        )
