"""Granite's config (transformers: GraniteConfig)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.config import require
from tfcli.models.configs.llama import LlamaConfig
from tfcli.models.configs.rotary import RotaryConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class GraniteFactors(RotaryConfig):
    """Four factors that all models of the family have."""

    embedding_multiplier: float = 1.0
    attention_multiplier: float = 1.0
    residual_multiplier: float = 1.0
    logits_scaling: float = 1.0

    def check(self) -> None:
        super().check()
        require(self.logits_scaling != 0, "logits_scaling", "divides the logits: it cannot be 0")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GraniteConfig(LlamaConfig, GraniteFactors):
    """Granite 3, dense: Llama with four factors."""

    model_type: ClassVar[str] = "granite"
    names_head_dim: ClassVar[bool] = False
