"""DistilBERT's config (transformers: DistilBertConfig)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from tfcli.models.config import require
from tfcli.models.configs.bert import EncoderConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistilBertConfig(EncoderConfig):
    """DistilBERT, which spells BERT's keys in its own way and has no segments.

    Args:
        sinusoidal_pos_embds: new position embeddings begin as sines and cosines.
        qa_dropout: before the linear of question answering.
        seq_classif_dropout: before the last linear of sequence classification and multiple choice.
    """

    model_type: ClassVar[str] = "distilbert"
    aliases: ClassVar[dict[str, str]] = {
        "dim": "hidden_size",
        "n_layers": "num_hidden_layers",
        "n_heads": "num_attention_heads",
        "hidden_dim": "intermediate_size",
        "activation": "hidden_act",
        "dropout": "hidden_dropout_prob",
        "attention_dropout": "attention_probs_dropout_prob",
    }

    num_hidden_layers: int = 6
    sinusoidal_pos_embds: bool = False
    qa_dropout: float = 0.1
    seq_classif_dropout: float = 0.2

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """See `TextConfig.from_dict`. Beside DistilBERT's own keys, BERT's mean nothing."""
        same = ("hidden_size", "num_hidden_layers", "num_attention_heads")  # in transformers too
        idle = {
            name: content[name]
            for spelling, name in cls.aliases.items()
            if name not in same and name in content and spelling in content
        }
        config = super().from_dict({key: content[key] for key in content if key not in idle})
        return config.replace(extra=config.extra | idle)

    def check(self) -> None:
        super().check()
        for key in ("qa_dropout", "seq_classif_dropout"):
            require(0 <= getattr(self, key) < 1, key, "must be in [0, 1)")
