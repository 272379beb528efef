"""BERT's config (transformers: BertConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import ModelConfig, require, require_activation, require_divides

PROBLEM_TYPES = (
    "regression",
    "single_label_classification",
    "multi_label_classification",
)


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
    classifier_dropout: float | None = None
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    id2label: dict[str, str] | None = None
    label2id: dict[str, int] | None = None
    problem_type: str | None = None

    @property
    def num_labels(self) -> int:
        """How many outputs a classifier has: two unless config.json names them."""
        return len(self.id2label) if self.id2label else 2

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        count = data.pop("num_labels", None)
        if count is not None and not data.get("id2label"):
            require(isinstance(count, int) and count >= 1, "num_labels", "must be at least 1")
            data["id2label"] = {str(i): f"LABEL_{i}" for i in range(count)}
        if isinstance(data.get("id2label"), dict):
            data["id2label"] = {str(key): value for key, value in data["id2label"].items()}
            if count is not None:
                named = len(data["id2label"])
                require(count == named, "num_labels", f"is {count}, but id2label has {named}")
            if not data.get("label2id"):
                data["label2id"] = {label: int(i) for i, label in data["id2label"].items()}
        return data

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        return tuple(sorted({*super().keys(), "num_labels"}))

    def check(self) -> None:
        super().check()
        require_divides(
            self.num_attention_heads, self.hidden_size, "num_attention_heads", "hidden_size"
        )
        require(self.intermediate_size >= 1, "intermediate_size", "must be at least 1")
        require(self.type_vocab_size >= 1, "type_vocab_size", "must be at least 1")
        require_activation(self.hidden_act, "hidden_act")
        for key in ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"):
            require(0 <= (getattr(self, key) or 0.0) < 1, key, "must be in [0, 1)")
        require(
            self.problem_type in (*PROBLEM_TYPES, None),
            "problem_type",
            f"is {self.problem_type!r}; known: {', '.join(PROBLEM_TYPES)}",
        )
