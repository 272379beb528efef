"""ERNIE 4.5's config, of its models with experts (transformers: Ernie4_5_MoeConfig)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.config import require
from tfcli.models.configs.ernie4_5 import ErnieRotaryConfig
from tfcli.models.configs.experts import BalancedConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ernie45MoeConfig(ErnieRotaryConfig, BalancedConfig):
    """ERNIE 4.5 with experts, in every `moe_layer_interval`-th layer from a first to a last one."""

    model_type: ClassVar[str] = "ernie4_5_moe"
    aliases: ClassVar[dict[str, str]] = {
        "moe_num_experts": "num_experts",
        "moe_k": "num_experts_per_tok",
    }

    hidden_size: int = 2560
    intermediate_size: int = 12288
    num_hidden_layers: int = 28
    num_attention_heads: int = 20
    num_key_value_heads: int = 4
    num_experts: int = 64
    num_experts_per_tok: int = 6
    moe_intermediate_size: int = 1536
    moe_num_shared_experts: int = 2
    moe_layer_start_index: int = 1
    moe_layer_end_index: int = -1  # the last layer
    moe_layer_interval: int = 1
    moe_norm_min: float = 1e-12

    @property
    def expert_size(self) -> int:
        return self.moe_intermediate_size

    @property
    def shared_size(self) -> int:
        return self.moe_num_shared_experts * self.moe_intermediate_size

    def sparse(self, layer: int) -> bool:
        within = self.moe_layer_start_index <= layer <= self.moe_layer_end_index
        return within and (layer + 1) % self.moe_layer_interval == 0

    def complete(self) -> None:
        super().complete()
        if self.moe_layer_end_index == -1:
            object.__setattr__(self, "moe_layer_end_index", self.num_hidden_layers - 1)

    def check(self) -> None:
        super().check()
        self.check_sizes("moe_intermediate_size", "moe_layer_interval")
        require(self.moe_num_shared_experts >= 0, "moe_num_shared_experts", "is negative")
        require(self.moe_norm_min > 0, "moe_norm_min", "must be above 0")
