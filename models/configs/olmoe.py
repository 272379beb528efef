"""OLMoE's config (transformers: OlmoeConfig)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.config import require
from tfcli.models.configs.experts import BalancedConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class OlmoeConfig(BalancedConfig):
    """OLMoE."""

    model_type: ClassVar[str] = "olmoe"

    vocab_size: int = 50304
    hidden_size: int = 2048
    intermediate_size: int = 2048
    num_hidden_layers: int = 16
    num_attention_heads: int = 16
    max_position_embeddings: int = 4096
    rms_norm_eps: float = 1e-5
    attention_bias: bool = False
    clip_qkv: float | None = None
    num_experts: int = 64
    num_experts_per_tok: int = 8
    norm_topk_prob: bool = False
    router_aux_loss_coef: float = 0.01
    pad_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 50279

    def check(self) -> None:
        super().check()
        require(
            self.head_dim * self.num_attention_heads == self.hidden_size,
            "head_dim",
            f"is {self.head_dim}; times num_attention_heads it must be hidden_size",
        )
        require(self.clip_qkv is None or self.clip_qkv > 0, "clip_qkv", "must be above 0")
