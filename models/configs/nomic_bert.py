"""Nomic BERT's config (transformers: NomicBertConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.bert import EncoderConfig
from tfcli.models.configs.rope import check_rope, read_rope, write_rope

_BASE = 1000.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class NomicBertConfig(EncoderConfig):
    """Nomic BERT."""

    model_type: ClassVar[str] = "nomic_bert"

    vocab_size: int = 30528
    hidden_act: str = "silu"
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    max_position_embeddings: int = 2048
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    head_dim: int = 0  # 0: hidden_size / num_attention_heads
    rope_parameters: dict[str, Any] = dataclasses.field(
        default_factory=lambda: {"rope_type": "default", "rope_theta": _BASE}
    )

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        data.setdefault("max_position_embeddings", cls.max_position_embeddings)
        data["rope_parameters"] = read_rope(data, default_theta=_BASE)
        data["head_dim"] = data.get("head_dim") or 0
        return data

    def write_keys(self, out: dict[str, Any]) -> dict[str, Any]:
        if self.tie_word_embeddings:
            del out["tie_word_embeddings"]  # no key of this family, whose tables are tied
        return {**out, **write_rope(self.rope_parameters)}

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        return tuple(sorted({*super().keys(), "rope_theta", "rope_scaling"}))

    def complete(self) -> None:
        if self.head_dim == 0 and self.num_attention_heads > 0:
            object.__setattr__(self, "head_dim", self.hidden_size // self.num_attention_heads)

    def check(self) -> None:
        super().check()
        require(self.type_vocab_size >= 1, "type_vocab_size", "must be at least 1")
        require(self.head_dim >= 1, "head_dim", "must be at least 1")
        check_rope(self.rope_parameters, self.head_dim)
        partial = self.rope_parameters.get("partial_rotary_factor", 1.0)
        require(partial == 1.0, "partial_rotary_factor", f"is {partial}; supported: 1.0")
