"""GPTBigCode (Ben Allal et al. 2023, StarCoder): GPT-2 with one key head for all queries.

Reference: transformers `modeling_gpt_bigcode.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from torch import nn

from tfcli.models.configs.gpt_bigcode import GPTBigCodeConfig
from tfcli.models.layers.fused_attention import GroupedAttention
from tfcli.models.text.gpt2 import GPT2Model


class GPTBigCodeAttention(GroupedAttention):
    """Grouped attention under GPT-2's names."""

    fused = "c_attn"
    out = "c_proj"


class GPTBigCodeModel(GPT2Model):
    """GPT-2's body with multi-query attention. Its checkpoints transpose nothing."""

    config: GPTBigCodeConfig

    rules = ()

    def make_attention(self, layer: int) -> nn.Module:
        """See `GPT2Model.make_attention`."""
        config = self.config
        return GPTBigCodeAttention(
            config.hidden_size,
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
            layer=layer,
            rotary=None,
            backend=self.attention,
            bias=True,
            dropout=config.attn_pdrop,
            scale=None if config.scale_attn_weights else 1.0,
        )
