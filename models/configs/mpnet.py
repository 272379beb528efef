"""MPNet's config (transformers: MPNetConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.bert import EncoderConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class MPNetConfig(EncoderConfig):
    """MPNet. The position table's first two rows belong to no token."""

    model_type: ClassVar[str] = "mpnet"
    # The published code always has 32 buckets, and the padding id is 1.
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = EncoderConfig.fixed | {
        "relative_attention_num_buckets": (32,),
        "classifier_dropout": (None,),
    }

    vocab_size: int = 30527
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 1
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2

    @property
    def longest_input(self) -> int:
        return self.max_position_embeddings - 2

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        return tuple(sorted({*super().keys()} - {*cls.fixed}))

    def check(self) -> None:
        super().check()
        require(self.pad_token_id == 1, "pad_token_id", f"is {self.pad_token_id}; supported: 1")
        require(self.max_position_embeddings > 2, "max_position_embeddings", "must be at least 3")
