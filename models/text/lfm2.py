"""LFM2 (Liquid AI 2025): short convolutions with gates, and attention in some layers.

Reference: transformers `modeling_lfm2.py`; names of modules and parameters are the same, but for
those of the norms of queries and keys.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from tfcli.models.blocks.decoder import DecoderBlock
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.lfm2 import Lfm2Config
from tfcli.models.configs.windows import FULL
from tfcli.models.layers.attention import RotaryAttention
from tfcli.models.layers.norms import RMSNorm
from tfcli.models.layers.short_conv import ShortConv
from tfcli.models.rules import Rename
from tfcli.models.text.llama import LlamaModel
from tfcli.models.text.mixtral import MixtralExpert


class Lfm2Attention(RotaryAttention):
    """Attention with the name of its last linear."""

    out = "out_proj"


class Lfm2Model(LlamaModel):
    """Llama's body with a convolution in place of attention in most layers."""

    config: Lfm2Config

    prefixes: ClassVar[dict[str, str]] = {}
    packs = False  # the convolution runs over the whole row
    attention_class: ClassVar[type[RotaryAttention]] = Lfm2Attention
    final_norm = "embedding_norm"
    rules = (Rename(r"\.self_attn\.([qk])_norm\.", r".self_attn.\1_layernorm."),)
    walk = CalibrationWalk(
        blocks="layers",
        groups=(
            ("conv.in_proj",),
            ("conv.out_proj",),
            ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            ("self_attn.out_proj",),
            ("feed_forward.w1", "feed_forward.w3"),
            ("feed_forward.w2",),
        ),
        varies=True,
    )

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        config = self.config
        return {
            "q_norm": RMSNorm(config.head_dim, config.rms_norm_eps),
            "k_norm": RMSNorm(config.head_dim, config.rms_norm_eps),
        }

    def make_mlp(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_mlp`."""
        config = self.config
        return MixtralExpert(config.hidden_size, config.mlp_size, "silu")

    def make_block(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_block`."""
        config = self.config
        if config.kind(layer) == FULL:
            name, mixer = "self_attn", self.make_attention(layer)
        else:
            conv = ShortConv(config.hidden_size, config.conv_width, config.conv_bias, layer=layer)
            name, mixer = "conv", conv
        return DecoderBlock(
            mixer,
            self.make_mlp(layer),
            self.make_norm,
            norms=("operator_norm", None, "ffn_norm", None),
            attention_name=name,
            mlp_name="feed_forward",
        )
