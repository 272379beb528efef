"""Qwen3-Next's config (transformers: Qwen3NextConfig), and what Qwen3.5 has of it."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require, require_divides
from tfcli.models.configs.experts import SharedConfig, StepsConfig
from tfcli.models.configs.hybrid import LINEAR, HybridConfig
from tfcli.models.configs.windows import FULL


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeltaConfig(HybridConfig):
    """Gated delta networks, and gated attention in every fourth layer."""

    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {}
    default_partial: ClassVar[float | None] = 0.25
    names_head_dim: ClassVar[bool] = True

    num_attention_heads: int = 16
    max_position_embeddings: int = 32768
    rms_norm_eps: float = 1e-6
    attention_bias: bool = False
    head_dim: int = 256
    linear_conv_kernel_dim: int = 4
    linear_key_head_dim: int = 128
    linear_value_head_dim: int = 128
    linear_num_key_heads: int = 16
    linear_num_value_heads: int = 32
    full_attention_interval: int | None = None  # how layer_types was spelt before

    def default_kind(self, layer: int) -> str:
        interval = 4 if self.full_attention_interval is None else self.full_attention_interval
        require(interval >= 1, "full_attention_interval", "must be at least 1")
        return LINEAR if (layer + 1) % interval else FULL

    def check(self) -> None:
        super().check()
        self.check_sizes(
            "linear_key_head_dim",
            "linear_value_head_dim",
            "linear_num_key_heads",
            "linear_num_value_heads",
        )
        require(self.linear_conv_kernel_dim >= 2, "linear_conv_kernel_dim", "must be at least 2")
        require_divides(
            self.linear_num_key_heads,
            self.linear_num_value_heads,
            "linear_num_key_heads",
            "linear_num_value_heads",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Qwen3NextConfig(DeltaConfig, StepsConfig, SharedConfig):
    """Qwen3-Next."""

    model_type: ClassVar[str] = "qwen3_next"

    vocab_size: int = 151936
    hidden_size: int = 2048
    intermediate_size: int = 5632
    num_hidden_layers: int = 48
    num_key_value_heads: int = 2
    moe_intermediate_size: int = 512
    shared_expert_intermediate_size: int = 512
    num_experts: int = 512
    num_experts_per_tok: int = 10
    norm_topk_prob: bool = True
