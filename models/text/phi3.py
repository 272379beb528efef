"""Phi-3 (Abdin et al. 2024): Llama's body with fused linears and LongRoPE.

Reference: transformers `modeling_phi3.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from torch import nn

from tfcli.models.blocks.decoder import DecoderBlock
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.phi3 import Phi3Config
from tfcli.models.layers.attention import FusedRotaryAttention
from tfcli.models.layers.mlp import FusedGatedMLP
from tfcli.models.text.llama import LlamaModel


class Phi3Model(LlamaModel):
    """Mistral's body, with queries, keys and values in one linear, and gate and up in another."""

    config: Phi3Config

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

    def make_mlp(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_mlp`."""
        config = self.config
        return FusedGatedMLP(
            config.hidden_size, config.intermediate_size, config.hidden_act, bias=False
        )

    def make_block(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_block`."""
        return DecoderBlock(
            self.make_attention(layer),
            self.make_mlp(layer),
            self.make_norm(),
            self.make_norm(),
            dropout=self.config.resid_pdrop,
        )
