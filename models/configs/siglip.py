"""The configs of SigLIP (transformers: SiglipConfig, SiglipTextConfig, SiglipVisionConfig)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.config import require
from tfcli.models.configs.dual_encoder import DualEncoderConfig, TextTowerConfig
from tfcli.models.configs.text import TextConfig
from tfcli.models.configs.vision import PatchConfig, VisionConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class SiglipTextConfig(TextTowerConfig):
    """SigLIP's tower for texts.

    Args:
        projection_size: width of a text's vector; None: hidden_size.
    """

    model_type: ClassVar[str] = "siglip_text_model"

    vocab_size: int = 32000
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    max_position_embeddings: int = 64
    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6
    projection_size: int | None = None

    @property
    def projected(self) -> int:
        """Width of a text's vector."""
        return self.hidden_size if self.projection_size is None else self.projection_size

    def check(self) -> None:
        super().check()
        require(self.projected >= 1, "projection_size", "must be at least 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PooledVisionConfig(PatchConfig):
    """A tower for images whose states are pooled by attention, if `vision_use_head`."""

    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6
    attention_dropout: float = 0.0
    vision_use_head: bool = True

    def check(self) -> None:
        super().check()
        require(0 <= self.attention_dropout < 1, "attention_dropout", "must be in [0, 1)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SiglipVisionConfig(PooledVisionConfig, VisionConfig):
    """SigLIP's tower for images."""

    model_type: ClassVar[str] = "siglip_vision_model"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SiglipConfig(DualEncoderConfig):
    """SigLIP: the vectors of both towers are compared as they are, so they are equally wide."""

    model_type: ClassVar[str] = "siglip"
    nested: ClassVar[dict[str, str]] = {
        "text_config": "siglip_text_model",
        "vision_config": "siglip_vision_model",
    }
    text_kind: ClassVar[type[TextConfig]] = SiglipTextConfig
    vision_kind: ClassVar[type[PatchConfig]] = SiglipVisionConfig

    text_config: SiglipTextConfig

    def check(self) -> None:
        super().check()
        text, vision = self.text_config.projected, self.vision_config.hidden_size
        require(
            text == vision,
            "text_config.projection_size",
            f"is {text}, but vision_config.hidden_size is {vision}; the vectors of texts and "
            "images must be equally wide to be compared",
        )
