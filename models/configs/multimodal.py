"""What the configs of models that put features of other media among their tokens share."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import BaseConfig, read_nested, require
from tfcli.models.configs.text import TextConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class VisionLanguageConfig(BaseConfig):
    """A language model's config, and that of the tower whose features stand among its tokens.

    Class attributes:
        whole_parts: field -> what the part is where config.json has none, as far as that differs
            from the defaults of the part's own class.
    """

    nested: ClassVar[dict[str, str]] = {
        "text_config": "llama",
        "vision_config": "clip_vision_model",
    }

    whole_parts: ClassVar[dict[str, dict[str, Any]]] = {}

    text_config: TextConfig
    vision_config: BaseConfig

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        for field in cls.nested:  # both are there by default
            if data.get(field) is None:
                data[field] = cls.whole_parts.get(field, {})
        return data

    @property
    def image_token(self) -> int:
        """The id of the token in whose places features of images are put."""
        raise TypeError(f"{type(self).__name__} names no image token")

    @property
    def media_tokens(self) -> dict[str, int]:
        return {"image": self.image_token}

    @property
    def marks(self) -> dict[str, int | None]:
        """Key -> the id of each token that has a meaning of its own, none of which may be two."""
        return {self.spelling("image_token_id"): self.image_token}

    def check(self) -> None:
        super().check()
        require(
            isinstance(self.text_config, TextConfig),
            "text_config",
            f"is that of {self.text_config.model_type}, which reads no text",
        )
        taken: dict[int, str] = {}
        for key, token in self.marks.items():
            if token is None:
                continue
            require(token >= 0, key, "is negative")
            other = taken.setdefault(token, key)
            require(other == key, key, f"is {token}, which is {other} too")
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            for token in _as_list(getattr(self.text_config, name)):
                require(
                    token not in taken,
                    taken.get(token, ""),
                    f"is {token}, which is text_config.{name} too",
                )


def tie_as_the_text(data: dict[str, Any], model_type: str) -> dict[str, Any]:
    """Say of the whole that it shares the token table, where earlier files say so of the part.

    Args:
        data: the content of a config.json with `text_config`, which is read.
        model_type: of the part, where it does not say so.
    """
    data["text_config"] = read_nested("text_config", data["text_config"], model_type)
    if data["text_config"].tie_word_embeddings:
        data["tie_word_embeddings"] = True
    return data


def _as_list(ids: int | list[int] | None) -> list[int]:
    if ids is None:
        return []
    return ids if isinstance(ids, list) else [ids]
