"""RWKV's config (transformers: RwkvConfig)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.config import require
from tfcli.models.configs.text import TextConfig
from tfcli.models.limits import LIMIT


@dataclasses.dataclass(frozen=True, kw_only=True)
class RwkvConfig(TextConfig):
    """RWKV 4. `rescale_every` keeps float16 activations small; see `text/rwkv.py`."""

    model_type: ClassVar[str] = "rwkv"
    aliases: ClassVar[dict[str, str]] = {"context_length": "max_position_embeddings"}
    num_attention_heads: ClassVar[int] = 1  # type: ignore[misc]
    initializer_range: ClassVar[float] = 0.02  # type: ignore[misc]

    vocab_size: int = 50277
    max_position_embeddings: int = 1024
    hidden_size: int = 4096
    num_hidden_layers: int = 32
    attention_hidden_size: int | None = None
    intermediate_size: int | None = None
    layer_norm_epsilon: float = 1e-5
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 0
    rescale_every: int = 6
    tie_word_embeddings: bool = False

    @property
    def longest_text(self) -> int:
        """Any: `context_length` is what it was trained with, and the state does not grow."""
        return LIMIT

    @property
    def cached_per_position(self) -> int:
        return 0

    def complete(self) -> None:
        for key, value in (
            ("attention_hidden_size", self.hidden_size),
            ("intermediate_size", 4 * self.hidden_size),
        ):
            if getattr(self, key) is None:
                object.__setattr__(self, key, value)

    def check(self) -> None:
        super().check()
        for key in ("attention_hidden_size", "intermediate_size"):
            require(getattr(self, key) >= 1, key, "must be at least 1")
