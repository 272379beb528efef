"""Mixtral's config (transformers: MixtralConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.experts import BalancedConfig
from tfcli.models.configs.windows import check_window


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtralConfig(BalancedConfig):
    """Mixtral 8x7B and 8x22B."""

    model_type: ClassVar[str] = "mixtral"
    aliases: ClassVar[dict[str, str]] = {"num_local_experts": "num_experts"}
    default_theta: ClassVar[float] = 1e6

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 14336
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = 8
    max_position_embeddings: int = 131072
    rms_norm_eps: float = 1e-5
    sliding_window: int | None = None
    num_experts: int = 8
    num_experts_per_tok: int = 2
    router_jitter_noise: float = 0.0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2

    def window(self, layer: int) -> int | None:
        return self.sliding_window

    def write_keys(self, out: dict[str, Any]) -> dict[str, Any]:
        return {"head_dim": None, **super().write_keys(out)}

    def check(self) -> None:
        super().check()
        check_window(self.sliding_window)
        require(0 <= self.router_jitter_noise < 1, "router_jitter_noise", "must be in [0, 1)")
