"""GLM-4.5's config (transformers: Glm4MoeConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.configs.experts import GroupedConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Glm4MoeConfig(GroupedConfig):
    """GLM-4.5 to 4.7, and Air."""

    model_type: ClassVar[str] = "glm4_moe"
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {}
    default_partial: ClassVar[float | None] = 0.5

    vocab_size: int = 151552
    hidden_size: int = 4096
    intermediate_size: int = 10944
    moe_intermediate_size: int = 1408
    num_hidden_layers: int = 46
    num_attention_heads: int = 96
    num_key_value_heads: int = 8
    head_dim: int = 128
    max_position_embeddings: int = 131072
    rms_norm_eps: float = 1e-5
    attention_bias: bool = False
    use_qk_norm: bool = False
    num_experts: int = 128
    num_experts_per_tok: int = 8
    first_k_dense_replace: int = 1

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        if "hidden_size" in data or "num_attention_heads" in data:
            data.setdefault("head_dim", 0)  # which follows from these, as in transformers
        return super().read_keys(data)
