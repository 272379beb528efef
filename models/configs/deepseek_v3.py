"""DeepSeek-V3's config (transformers: DeepseekV3Config)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.configs.experts import GroupedConfig
from tfcli.models.configs.latent import LatentConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepseekV3Config(GroupedConfig, LatentConfig):
    """DeepSeek-V3 and R1, and checkpoints of their shape."""

    model_type: ClassVar[str] = "deepseek_v3"
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        "scoring_func": ("sigmoid", None),
        "topk_method": ("noaux_tc", None),
        "moe_layer_freq": (1, None),
        "partial_rotary_factor": (1.0, None),
    }

    vocab_size: int = 129280
    hidden_size: int = 7168
    intermediate_size: int = 18432
    moe_intermediate_size: int = 2048
    num_hidden_layers: int = 61
    num_attention_heads: int = 128
    max_position_embeddings: int = 4096
    rms_norm_eps: float = 1e-6
    attention_bias: bool = False
    num_experts: int = 256
    num_experts_per_tok: int = 8
    n_group: int = 8
    topk_group: int = 4
    routed_scaling_factor: float = 2.5
    first_k_dense_replace: int = 3
    rope_interleave: bool = True
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 1
