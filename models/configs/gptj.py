"""GPT-J's config (transformers: GPTJConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.gpt import GPTConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class GPTJConfig(GPTConfig):
    """GPT-J 6B and checkpoints of its shape."""

    model_type: ClassVar[str] = "gptj"
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        "scale_attn_weights": (True, None),
        "rotary": (True, None),
    }

    vocab_size: int = 50400
    hidden_size: int = 4096
    num_hidden_layers: int = 28
    num_attention_heads: int = 16
    max_position_embeddings: int = 2048
    tie_word_embeddings: bool = False
    rotary_dim: int = 64

    def check(self) -> None:
        super().check()
        require(
            2 <= self.rotary_dim <= self.head_dim and self.rotary_dim % 2 == 0,
            "rotary_dim",
            f"is {self.rotary_dim}; it must be even, and at most the {self.head_dim} of a head",
        )
