"""Granite's configs of models with experts (transformers: GraniteMoeConfig and its like)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.config import require
from tfcli.models.configs.experts import BalancedConfig
from tfcli.models.configs.granite import GraniteFactors


@dataclasses.dataclass(frozen=True, kw_only=True)
class GraniteMoeConfig(BalancedConfig, GraniteFactors):
    """PowerMoE and Granite 3's models with experts in every layer."""

    model_type: ClassVar[str] = "granitemoe"
    aliases: ClassVar[dict[str, str]] = {"num_local_experts": "num_experts"}

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    attention_bias: bool = False
    num_experts: int = 8
    num_experts_per_tok: int = 2
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class GraniteMoeSharedConfig(GraniteMoeConfig):
    """The same with an mlp for all tokens beside the experts."""

    model_type: ClassVar[str] = "granitemoeshared"

    shared_intermediate_size: int = 0

    def check(self) -> None:
        super().check()
        require(self.shared_intermediate_size >= 0, "shared_intermediate_size", "is negative")
