"""Qwen3's config (transformers: Qwen3Config)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.configs.qwen2 import Qwen2Config


@dataclasses.dataclass(frozen=True, kw_only=True)
class Qwen3Config(Qwen2Config):
    """Qwen3's dense models."""

    model_type: ClassVar[str] = "qwen3"
    names_head_dim: ClassVar[bool] = True

    head_dim: int = 128
    attention_bias: bool = False
