"""What the configs of models that compare images with texts share."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import BaseConfig, require, require_activation, require_divides
from tfcli.models.configs.text import TextConfig
from tfcli.models.configs.vision import PatchConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextTowerConfig(TextConfig):
    """A tower for texts."""

    intermediate_size: int
    hidden_act: str
    layer_norm_eps: float
    attention_dropout: float = 0.0
    pad_token_id: int | None = 1
    bos_token_id: int | None = 49406
    eos_token_id: int | list[int] | None = 49407

    def check(self) -> None:
        super().check()
        self.check_sizes("intermediate_size")
        require_divides(
            self.num_attention_heads, self.hidden_size, "num_attention_heads", "hidden_size"
        )
        require_activation(self.hidden_act, "hidden_act")
        require(0 <= self.attention_dropout < 1, "attention_dropout", "must be in [0, 1)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DualEncoderConfig(BaseConfig):
    """Two towers, whose vectors are compared.

    Class attributes:
        text_kind: class of text_config.
        vision_kind: class of vision_config.
    """

    text_config: TextConfig
    vision_config: PatchConfig
    initializer_factor: float = 1.0

    text_kind: ClassVar[type[TextConfig]]
    vision_kind: ClassVar[type[PatchConfig]]

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        for field in cls.nested:  # both are there by default
            data.setdefault(field, {})
        return data

    def check(self) -> None:
        super().check()
        for field, kind in (("text_config", self.text_kind), ("vision_config", self.vision_kind)):
            found = getattr(self, field)
            require(
                isinstance(found, kind),
                field,
                f"is that of {found.model_type}, but a tower of {self.model_type} is needed: "
                f"{self.nested[field]}",
            )
