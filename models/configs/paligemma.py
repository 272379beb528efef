"""PaliGemma's config (transformers: PaliGemmaConfig)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from tfcli.models.config import read_nested, require
from tfcli.models.configs.multimodal import VisionLanguageConfig

_BOTH_WAYS = "use_bidirectional_attention"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PaliGemmaConfig(VisionLanguageConfig):
    """PaliGemma 1 and 2.

    Args:
        projection_dim: width of an image's features, that of the language model's embeddings.
    """

    model_type: ClassVar[str] = "paligemma"
    aliases: ClassVar[dict[str, str]] = {"image_token_index": "image_token_id"}
    nested: ClassVar[dict[str, str]] = {
        "text_config": "gemma",
        "vision_config": "siglip_vision_model",
    }
    whole_parts: ClassVar[dict[str, dict[str, Any]]] = {
        "text_config": {
            "vocab_size": 257152,
            "hidden_size": 2048,
            "intermediate_size": 16384,
            "num_hidden_layers": 18,
            "num_attention_heads": 8,
            "num_key_value_heads": 1,
        },
        "vision_config": {
            "hidden_size": 1152,
            "intermediate_size": 4096,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
            "image_size": 224,
            "patch_size": 14,
            "vision_use_head": False,
        },
    }

    image_token_id: int = 256000
    projection_dim: int = 2048
    tie_word_embeddings: bool = True

    @property
    def image_token(self) -> int:
        return self.image_token_id

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        data = super().read_keys(data)
        text = data["text_config"]
        if isinstance(text, Mapping) and _BOTH_WAYS in text:
            # In this family it says what holds anyway, that a prefix sees itself. A Gemma that
            # stands alone is refused with it, so the part is read without, and keeps it.
            rest = {key: value for key, value in text.items() if key != _BOTH_WAYS}
            part = read_nested("text_config", rest, cls.nested["text_config"])
            data["text_config"] = part.replace(extra={**part.extra, _BOTH_WAYS: text[_BOTH_WAYS]})
        return data

    def check(self) -> None:
        super().check()
        width = self.text_config.hidden_size
        require(
            self.projection_dim == width,
            "projection_dim",
            f"is {self.projection_dim}, but text_config.hidden_size is {width}; features of images "
            "stand among the tokens' embeddings, so they are equally wide",
        )
