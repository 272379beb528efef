"""GLM-4-0414 (GLM team 2024, Zhipu 2025): norms before and after attention and mlp.

Positions turn neighbouring dimensions, in the first part of each head.
Reference: transformers `modeling_glm4.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.glm4 import Glm4Config
from tfcli.models.context import Context
from tfcli.models.layers.mlp import FusedGatedMLP
from tfcli.models.layers.norms import RMSNorm
from tfcli.models.text.llama import LlamaModel


class Glm4Block(nn.Module):
    """x + norm(attention(norm(x))), then x + norm(mlp(norm(x))).

    Args:
        attention: [b, s, d] and the context -> [b, s, d]
        mlp: [b, s, d] -> [b, s, d]
        hidden_size: d.
        eps: of the norms.
    """

    def __init__(self, attention: nn.Module, mlp: nn.Module, hidden_size: int, eps: float) -> None:
        super().__init__()
        self.self_attn = attention
        self.mlp = mlp
        self.input_layernorm = RMSNorm(hidden_size, eps)
        self.post_self_attn_layernorm = RMSNorm(hidden_size, eps)
        self.post_attention_layernorm = RMSNorm(hidden_size, eps)  # before the mlp, as in Llama
        self.post_mlp_layernorm = RMSNorm(hidden_size, eps)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        attended = self.self_attn(self.input_layernorm(x), context)
        x = x + self.post_self_attn_layernorm(attended)
        return x + self.post_mlp_layernorm(self.mlp(self.post_attention_layernorm(x)))


class Glm4Model(LlamaModel):
    """Llama's body with GLM-4's positions and blocks."""

    interleaved = True

    config: Glm4Config

    walk = CalibrationWalk(
        blocks="layers",
        groups=(
            ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            ("self_attn.o_proj",),
            ("mlp.gate_up_proj",),
            ("mlp.down_proj",),
        ),
    )

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        return {
            "bias": self.config.attention_bias,
            "out_bias": False,
        }

    def make_mlp(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_mlp`."""
        config = self.config
        return FusedGatedMLP(
            config.hidden_size, config.intermediate_size, config.hidden_act, bias=False
        )

    def make_block(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_block`."""
        return Glm4Block(
            self.make_attention(layer),
            self.make_mlp(layer),
            self.config.hidden_size,
            self.config.rms_norm_eps,
        )
