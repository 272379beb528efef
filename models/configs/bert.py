"""BERT's config (transformers: BertConfig), and what the configs of its kind share."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require, require_activation, require_divides
from tfcli.models.configs.text import TextConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderConfig(TextConfig):
    """Encoders of BERT's shape: learned positions, post-norm blocks."""

    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        "is_decoder": (False, None),
        "add_cross_attention": (False, None),
        "position_embedding_type": ("absolute", None),
    }

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    pad_token_id: int | None = 0

    @property
    def embedding_size(self) -> int:
        """Width of the embedding tables. Families that factorise them have a field instead."""
        return self.hidden_size

    @property
    def layer_norm_eps(self) -> float:
        """Added to the variance in layer norms. Most families have a field instead."""
        return 1e-12

    @property
    def type_vocab_size(self) -> int:
        """Rows of the segment table; 0 where there is none. Most families have a field instead."""
        return 0

    @property
    def head_dropout(self) -> float:
        dropout = self.classifier_dropout
        return self.hidden_dropout_prob if dropout is None else dropout

    def check(self) -> None:
        super().check()
        require_divides(
            self.num_attention_heads,
            self.hidden_size,
            self.spelling("num_attention_heads"),
            self.spelling("hidden_size"),
        )
        for name in ("intermediate_size", "embedding_size"):
            require(getattr(self, name) >= 1, self.spelling(name), "must be at least 1")
        require_activation(self.hidden_act, self.spelling("hidden_act"))
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            require(0 <= getattr(self, name) < 1, self.spelling(name), "must be in [0, 1)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BertConfig(EncoderConfig):
    """BERT as an encoder."""

    model_type: ClassVar[str] = "bert"

    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12

    def check(self) -> None:
        super().check()
        require(self.type_vocab_size >= 1, "type_vocab_size", "must be at least 1")
