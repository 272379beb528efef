"""Qwen2-MoE's config (transformers: Qwen2MoeConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.configs.experts import SharedConfig, StepsConfig
from tfcli.models.configs.windows import WindowedConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Qwen2MoeConfig(StepsConfig, SharedConfig, WindowedConfig):
    """Qwen 1.5 and 2 with experts. With `use_sliding_window` every other layer has a window."""

    model_type: ClassVar[str] = "qwen2_moe"

    vocab_size: int = 151936
    hidden_size: int = 2048
    intermediate_size: int = 5632
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    num_key_value_heads: int = 16
    max_position_embeddings: int = 32768
    rms_norm_eps: float = 1e-6
    qkv_bias: bool = True
    use_sliding_window: bool = False
    max_window_layers: int = 28
    num_experts: int = 60
    num_experts_per_tok: int = 4
    moe_intermediate_size: int = 1408
    shared_expert_intermediate_size: int = 5632

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        if data.get("sliding_window") == 0:  # transformers writes 0 where no layer slides
            data["sliding_window"] = None
        return super().read_keys(data)

    @property
    def has_windows(self) -> bool:
        return self.use_sliding_window and self.sliding_window is not None

    def slides(self, layer: int) -> bool:
        return self.has_windows and layer % 2 == 0 and layer < self.max_window_layers
