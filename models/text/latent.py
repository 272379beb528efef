"""What decoders with latent attention share: Llama's body with it, and mixtures of experts.

Reference: transformers `modeling_deepseek_v2.py` and `modeling_deepseek_v3.py`; for the names of
modules see `sparse`.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.layers.latent_attention import LatentAttention
from tfcli.models.layers.rotary import Rotary
from tfcli.models.text.sparse import DENSE, EXPERTS, SHARED, SparseModel


class LatentModel(SparseModel):
    """The config is an `ExpertsConfig` and a `LatentConfig`."""

    config: Any

    walk = CalibrationWalk(
        blocks="layers",
        groups=(
            ("self_attn.q_proj", "self_attn.q_a_proj", "self_attn.kv_a_proj_with_mqa"),
            ("self_attn.q_b_proj",),
            ("self_attn.kv_b_proj",),
            ("self_attn.o_proj",),
            *EXPERTS,
            *SHARED,
            *DENSE,
        ),
        varies=True,
    )

    def make_rotary(self) -> Rotary:
        """See `LlamaModel.make_rotary`."""
        config = self.config
        return Rotary(
            config.rope_parameters,
            config.qk_rope_head_dim,
            config.max_position_embeddings,
            interleaved=config.rope_interleave,
        )

    def make_attention(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_attention`."""
        config = self.config
        return LatentAttention(
            config.hidden_size,
            config.num_attention_heads,
            query_rank=config.q_lora_rank,
            rank=config.kv_lora_rank,
            plain_dim=config.qk_nope_head_dim,
            turned_dim=config.qk_rope_head_dim,
            value_dim=config.v_head_dim,
            layer=layer,
            rotary=self.rotary,
            backend=self.attention,
            scale=config.attention_scale,
            bias=config.attention_bias,
            dropout=config.attention_dropout,
        )
