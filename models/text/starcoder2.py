"""StarCoder2 (Lozhkov et al. 2024): layer norms, a plain mlp, biases, a sliding window.

Reference: transformers `modeling_starcoder2.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.starcoder2 import Starcoder2Config
from tfcli.models.context import Context
from tfcli.models.layers.mlp import PlainMLP
from tfcli.models.layers.norms import layer_norm
from tfcli.models.text.llama import LlamaModel


class Starcoder2Model(LlamaModel):
    """Llama's body with StarCoder2's norms, mlp and dropout."""

    config: Starcoder2Config

    walk = CalibrationWalk(
        blocks="layers",
        groups=(
            ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            ("self_attn.o_proj",),
            ("mlp.c_fc",),
            ("mlp.c_proj",),
        ),
    )

    def __init__(self, config: Starcoder2Config, attention: str) -> None:
        super().__init__(config, attention)
        self.dropout = nn.Dropout(config.embedding_dropout)

    def make_norm(self) -> nn.Module:
        """See `LlamaModel.make_norm`."""
        return layer_norm(self.config.hidden_size, self.config.norm_epsilon)

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        return {
            "bias": self.config.use_bias,
        }

    def make_mlp(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_mlp`."""
        config = self.config
        return PlainMLP(
            config.hidden_size, config.intermediate_size, config.hidden_act, config.use_bias
        )

    def block_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.block_options`."""
        return {"dropout": self.config.residual_dropout}

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings, after which there is dropout -> [b, s, d]"""
        return super().forward(self.dropout(x), context)
