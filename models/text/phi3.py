"""Phi-3 (Abdin et al. 2024): Llama's body with fused linears and LongRoPE.

Reference: transformers `modeling_phi3.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from tfcli.models.blocks.decoder import DecoderBlock
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.layers.attention import FusedRotaryAttention
from tfcli.models.layers.mlp import FusedGatedMLP
from tfcli.models.text.mistral import MistralModel


class Phi3Model(MistralModel):
    """Mistral's body, with queries, keys and values in one linear, and gate and up in another."""

    attention_class = FusedRotaryAttention
    walk = CalibrationWalk(
        blocks="layers",
        groups=(
            ("self_attn.qkv_proj",),
            ("self_attn.o_proj",),
            ("mlp.gate_up_proj",),
            ("mlp.down_proj",),
        ),
    )

    def make_mlp(self, config: Any, layer: int) -> nn.Module:
        """See `LlamaModel.make_mlp`."""
        return FusedGatedMLP(
            config.hidden_size, config.intermediate_size, config.hidden_act, bias=False
        )

    def make_block(self, config: Any, layer: int, attention: str) -> nn.Module:
        """See `LlamaModel.make_block`."""
        return DecoderBlock(
            self.make_attention(config, layer, attention),
            self.make_mlp(config, layer),
            self.make_norm(config),
            self.make_norm(config),
            dropout=config.resid_pdrop,
        )
