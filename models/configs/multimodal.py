"""What the configs of models that put features of other media among their tokens share."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.config import BaseConfig, require
from tfcli.models.configs.text import TextConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class VisionLanguageConfig(BaseConfig):
    """A language model's config, and that of the tower whose features stand among its tokens."""

    nested: ClassVar[dict[str, str]] = {
        "text_config": "llama",
        "vision_config": "clip_vision_model",
    }

    text_config: TextConfig
    vision_config: BaseConfig

    @property
    def image_token(self) -> int:
        """The id of the token in whose places features of images are put."""
        raise TypeError(f"{type(self).__name__} names no image token")

    @property
    def media_tokens(self) -> tuple[int, ...]:
        return (self.image_token,)

    def check(self) -> None:
        super().check()
        require(
            isinstance(self.text_config, TextConfig),
            "text_config",
            f"is that of {self.text_config.model_type}, which reads no text",
        )
        require(self.image_token >= 0, self.spelling("image_token_id"), "is negative")
