"""LayoutLM's config (transformers: LayoutLMConfig)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.config import require
from tfcli.models.configs.bert import BertConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayoutLMConfig(BertConfig):
    """LayoutLM.

    Args:
        max_2d_position_embeddings: coordinates of boxes are below it.
    """

    model_type: ClassVar[str] = "layoutlm"

    max_2d_position_embeddings: int = 1024

    def check(self) -> None:
        super().check()
        key = "max_2d_position_embeddings"
        require(self.max_2d_position_embeddings >= 1, key, "must be at least 1")
