"""BERT's config (transformers: BertConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import ModelConfig, require, require_activation, require_divides


@dataclasses.dataclass(frozen=True, kw_only=True)
class BertConfig(ModelConfig):
    """BERT as an encoder."""

    model_type: ClassVar[str] = "bert"
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
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0

    @property
    def head_dropout(self) -> float:
        dropout = self.classifier_dropout
        return self.hidden_dropout_prob if dropout is None else dropout

    def check(self) -> None:
        super().check()
        require_divides(
            self.num_attention_heads, self.hidden_size, "num_attention_heads", "hidden_size"
        )
        require(self.intermediate_size >= 1, "intermediate_size", "must be at least 1")
        require(self.type_vocab_size >= 1, "type_vocab_size", "must be at least 1")
        require_activation(self.hidden_act, "hidden_act")
        for key in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            require(0 <= getattr(self, key) < 1, key, "must be in [0, 1)")
