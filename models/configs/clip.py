"""The configs of CLIP (transformers: CLIPVisionConfig)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.config import require
from tfcli.models.configs.vision import VisionConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class CLIPVisionConfig(VisionConfig):
    """CLIP's tower for images."""

    model_type: ClassVar[str] = "clip_vision_model"

    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    patch_size: int = 32
    projection_dim: int = 512
    attention_dropout: float = 0.0
    initializer_factor: float = 1.0

    def check(self) -> None:
        super().check()
        require(0 <= self.attention_dropout < 1, "attention_dropout", "must be in [0, 1)")
