"""The configs of CLIP (transformers: CLIPConfig, CLIPTextConfig, CLIPVisionConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.dual_encoder import DualEncoderConfig, TextTowerConfig
from tfcli.models.configs.text import TextConfig
from tfcli.models.configs.vision import PatchConfig, VisionConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class CLIPTextConfig(TextTowerConfig):
    """CLIP's tower for texts. `projection_dim` counts where the tower stands alone."""

    model_type: ClassVar[str] = "clip_text_model"

    vocab_size: int = 49408
    hidden_size: int = 512
    intermediate_size: int = 2048
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    max_position_embeddings: int = 77
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    projection_dim: int = 512
    initializer_factor: float = 1.0

    def check(self) -> None:
        super().check()
        self.check_sizes("projection_dim")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CLIPVisionConfig(VisionConfig):
    """CLIP's tower for images. `projection_dim` counts where the tower stands alone."""

    model_type: ClassVar[str] = "clip_vision_model"

    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    patch_size: int = 32
    attention_dropout: float = 0.0
    projection_dim: int = 512
    initializer_factor: float = 1.0

    def check(self) -> None:
        super().check()
        self.check_sizes("projection_dim")
        require(0 <= self.attention_dropout < 1, "attention_dropout", "must be in [0, 1)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CLIPConfig(DualEncoderConfig):
    """CLIP: `projection_dim` is the width of the space that both towers are projected into."""

    model_type: ClassVar[str] = "clip"
    nested: ClassVar[dict[str, str]] = {
        "text_config": "clip_text_model",
        "vision_config": "clip_vision_model",
    }
    text_kind: ClassVar[type[TextConfig]] = CLIPTextConfig
    vision_kind: ClassVar[type[PatchConfig]] = CLIPVisionConfig

    projection_dim: int = 512
    logit_scale_init_value: float = 2.6592

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        for field in cls.nested:
            # The first checkpoints spell a part twice; transformers takes this one then.
            older = data.pop(f"{field}_dict", None)
            if older is not None:
                data[field] = older
        return super().read_keys(data)

    def check(self) -> None:
        super().check()
        self.check_sizes("projection_dim")
