"""LLaVA's config (transformers: LlavaConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require, require_activation
from tfcli.models.configs.multimodal import VisionLanguageConfig, tie_as_the_text


@dataclasses.dataclass(frozen=True, kw_only=True)
class LlavaConfig(VisionLanguageConfig):
    """LLaVA 1.5 and the checkpoints of its shape."""

    model_type: ClassVar[str] = "llava"
    aliases: ClassVar[dict[str, str]] = {"image_token_index": "image_token_id"}

    whole_parts: ClassVar[dict[str, dict[str, Any]]] = {
        "vision_config": {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": 336,
            "patch_size": 14,
            "projection_dim": 768,
        }
    }

    image_token_id: int = 32000
    image_seq_length: int = 576
    projector_hidden_act: str = "gelu"
    vision_feature_select_strategy: str = "default"
    vision_feature_layer: int | list[int] = -2
    multimodal_projector_bias: bool = True

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        return tie_as_the_text(super().read_keys(data), cls.nested["text_config"])

    @property
    def image_token(self) -> int:
        return self.image_token_id

    @property
    def feature_layers(self) -> list[int]:
        """Whose states are the features of an image, side by side."""
        layers = self.vision_feature_layer
        return layers if isinstance(layers, list) else [layers]

    def check(self) -> None:
        super().check()
        require_activation(self.projector_hidden_act, "projector_hidden_act")
        require(
            self.vision_feature_select_strategy in ("default", "full"),
            "vision_feature_select_strategy",
            f"is {self.vision_feature_select_strategy!r}; supported: 'default', 'full'",
        )
        depth = getattr(self.vision_config, "num_hidden_layers", 0)
        for layer in self.feature_layers:
            require(
                -depth - 1 <= layer <= depth,
                "vision_feature_layer",
                f"is {layer}, but the tower has {depth} layers",
            )
