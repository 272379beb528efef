"""Gemma 3's config (transformers: Gemma3Config)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

from tfcli.models.config import require, require_divides
from tfcli.models.configs.gemma3_text import Gemma3TextConfig
from tfcli.models.configs.multimodal import VisionLanguageConfig
from tfcli.models.configs.vision import VisionConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gemma3Config(VisionLanguageConfig):
    """Gemma 3 with its tower.

    Args:
        mm_tokens_per_image: features of an image, a square number; its patches are pooled to them.
    """

    model_type: ClassVar[str] = "gemma3"
    aliases: ClassVar[dict[str, str]] = {
        f"{kind}_token_index": f"{kind}_token_id" for kind in ("image", "boi", "eoi")
    }
    nested: ClassVar[dict[str, str]] = {
        "text_config": "gemma3_text",
        "vision_config": "siglip_vision_model",
    }

    text_config: Gemma3TextConfig
    vision_config: VisionConfig
    mm_tokens_per_image: int = 256
    boi_token_id: int | None = 255999
    eoi_token_id: int | None = 256000
    image_token_id: int = 262144
    tie_word_embeddings: bool = True

    @property
    def image_token(self) -> int:
        return self.image_token_id

    @property
    def marks(self) -> dict[str, int | None]:
        kinds = ("image", "boi", "eoi")
        return {f"{kind}_token_index": getattr(self, f"{kind}_token_id") for kind in kinds}

    @property
    def tokens_per_side(self) -> int:
        """Rows and columns of features of an image."""
        return math.isqrt(self.mm_tokens_per_image)

    @property
    def patches_per_side(self) -> int:
        """Rows and columns of patches of an image."""
        return self.vision_config.image_size // self.vision_config.patch_size

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        data = super().read_keys(data)
        if isinstance(data["text_config"], dict):
            # The class of the part is fixed; some files call it by the name of the whole.
            data["text_config"] = data["text_config"] | {"model_type": "gemma3_text"}
        return data

    def check(self) -> None:
        super().check()
        require(
            isinstance(self.vision_config, VisionConfig),
            "vision_config",
            f"is that of {self.vision_config.model_type}, which takes no images of one size",
        )
        require_divides(
            self.vision_config.patch_size,
            self.vision_config.image_size,
            "vision_config.patch_size",
            "vision_config.image_size",
        )
        tokens, side = self.mm_tokens_per_image, self.patches_per_side
        require(
            tokens >= 1 and self.tokens_per_side**2 == tokens and side % self.tokens_per_side == 0,
            "mm_tokens_per_image",
            f"is {tokens}, but the tower gives {side} x {side} patches, which cannot be pooled "
            "to a square of so many",
        )
