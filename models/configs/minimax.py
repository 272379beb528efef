"""MiniMax's config (transformers: MiniMaxConfig)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.configs.hybrid import LINEAR, HybridConfig
from tfcli.models.configs.mixtral import MixtralConfig
from tfcli.models.configs.windows import FULL


@dataclasses.dataclass(frozen=True, kw_only=True)
class MiniMaxConfig(MixtralConfig, HybridConfig):
    """MiniMax-Text-01, MiniMax-M1. `alpha` is a factor on the residual, `beta` on what is added."""

    model_type: ClassVar[str] = "minimax"

    max_position_embeddings: int = 131072
    block_size: int = 256
    full_attn_alpha_factor: float = 1
    full_attn_beta_factor: float = 1
    linear_attn_alpha_factor: float = 1
    linear_attn_beta_factor: float = 1
    mlp_alpha_factor: float = 1
    mlp_beta_factor: float = 1

    def default_kind(self, layer: int) -> str:
        return LINEAR if layer % 2 else FULL

    def check(self) -> None:
        super().check()
        self.check_sizes("block_size")
