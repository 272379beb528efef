"""HunYuan (Tencent 2025), dense: heads of queries and keys have norms after they are turned.

Reference: transformers `modeling_hunyuan_v1_dense.py`; names of modules and parameters are the
same, but for the norms of heads, which checkpoints call `query_layernorm` and `key_layernorm`.
"""

from __future__ import annotations

from typing import Any

from tfcli.models.configs.hunyuan_v1_dense import HunYuanDenseV1Config
from tfcli.models.layers.rotary import Rotary
from tfcli.models.rules import Rename
from tfcli.models.text.llama import LlamaModel


class HunYuanDenseV1Model(LlamaModel):
    """Llama's body with HunYuan's norms of heads and positions."""

    config: HunYuanDenseV1Config

    rules = (
        Rename(r"\.self_attn\.q_norm\.", ".self_attn.query_layernorm."),
        Rename(r"\.self_attn\.k_norm\.", ".self_attn.key_layernorm."),
    )

    def make_rotary(self) -> Rotary:
        """See `LlamaModel.make_rotary`."""
        config = self.config
        return Rotary(config.rotation, config.head_dim, config.max_position_embeddings)

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        return {**super().attention_options(layer), **self.head_norms(), "norm_turned": True}
