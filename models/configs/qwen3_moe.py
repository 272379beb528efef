"""Qwen3-MoE's config (transformers: Qwen3MoeConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.configs.experts import StepsConfig
from tfcli.models.configs.windows import check_window


@dataclasses.dataclass(frozen=True, kw_only=True)
class Qwen3MoeConfig(StepsConfig):
    """Qwen3's models with experts. With `use_sliding_window` every layer has a window."""

    model_type: ClassVar[str] = "qwen3_moe"

    vocab_size: int = 151936
    hidden_size: int = 2048
    intermediate_size: int = 6144
    num_hidden_layers: int = 24
    num_attention_heads: int = 32
    num_key_value_heads: int = 4
    max_position_embeddings: int = 32768
    rms_norm_eps: float = 1e-6
    attention_bias: bool = False
    use_sliding_window: bool = False
    sliding_window: int | None = 4096
    num_experts: int = 128
    num_experts_per_tok: int = 8
    moe_intermediate_size: int = 768

    def window(self, layer: int) -> int | None:
        return self.sliding_window if self.use_sliding_window else None

    def write_keys(self, out: dict[str, Any]) -> dict[str, Any]:
        # transformers 5 writes the second spelling, vLLM and llama.cpp read the first.
        return {**super().write_keys(out), "num_local_experts": self.num_experts}

    def check(self) -> None:
        super().check()
        check_window(self.sliding_window)
