"""Granite's config (transformers: GraniteConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.llama import LlamaConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class GraniteConfig(LlamaConfig):
    """Granite 3, dense: Llama with four factors."""

    model_type: ClassVar[str] = "granite"
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {"partial_rotary_factor": (1.0, None)}
    names_head_dim: ClassVar[bool] = False

    embedding_multiplier: float = 1.0
    attention_multiplier: float = 1.0
    residual_multiplier: float = 1.0
    logits_scaling: float = 1.0

    def check(self) -> None:
        super().check()
        require(self.logits_scaling != 0, "logits_scaling", "divides the logits: it cannot be 0")
