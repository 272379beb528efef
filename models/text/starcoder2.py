"""StarCoder2 (Lozhkov et al. 2024): layer norms, a plain mlp, biases, a sliding window.

Reference: transformers `modeling_starcoder2.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tfcli.models.blocks.decoder import DecoderBlock
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.starcoder2 import Starcoder2Config
from tfcli.models.layers.mlp import PlainMLP
from tfcli.models.layers.norms import layer_norm
from tfcli.models.text.llama import LlamaModel


class Starcoder2Model(LlamaModel):
    """Llama's body with StarCoder2's norms, mlp and dropout."""

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

    def make_norm(self, config: Any) -> nn.Module:
        """See `LlamaModel.make_norm`."""
        return layer_norm(config.hidden_size, config.norm_epsilon)

    def attention_options(self, config: Any, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        return {
            "bias": config.use_bias,
        }

    def make_mlp(self, config: Any, layer: int) -> nn.Module:
        """See `LlamaModel.make_mlp`."""
        return PlainMLP(
            config.hidden_size, config.intermediate_size, config.hidden_act, config.use_bias
        )

    def make_block(self, config: Any, layer: int, attention: str) -> nn.Module:
        """See `LlamaModel.make_block`."""
        return DecoderBlock(
            self.make_attention(config, layer, attention),
            self.make_mlp(config, layer),
            self.make_norm(config),
            self.make_norm(config),
            dropout=config.residual_dropout,
        )

    def embed(
        self, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor | None
    ) -> torch.Tensor:
        """See `LlamaModel.embed`."""
        return self.dropout(super().embed(input_ids, inputs_embeds))
