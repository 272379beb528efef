"""Llama's config (transformers: LlamaConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import ModelConfig, require, require_activation, require_divides
from tfcli.models.configs.rope import check_rope, read_rope, write_rope


@dataclasses.dataclass(frozen=True, kw_only=True)
class LlamaConfig(ModelConfig):
    """Llama 1 to 3.3 and the many checkpoints of their shape."""

    model_type: ClassVar[str] = "llama"
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        "pretraining_tp": (1, None),
        "partial_rotary_factor": (1.0, None),
    }

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = 0  # 0: as many as num_attention_heads  # type: ignore[assignment]
    head_dim: int = 0  # 0: hidden_size / num_attention_heads  # type: ignore[assignment]
    hidden_act: str = "silu"
    max_position_embeddings: int = 2048
    original_max_position_embeddings: int | None = None
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    attention_dropout: float = 0.0
    mlp_bias: bool = False
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    rope_parameters: dict[str, Any] = dataclasses.field(
        default_factory=lambda: {"rope_type": "default", "rope_theta": 10000.0}
    )

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        data.setdefault("max_position_embeddings", cls.max_position_embeddings)
        data["rope_parameters"] = read_rope(data)
        for key in ("num_key_value_heads", "head_dim", "attention_dropout"):
            if data.get(key, 0) is None:
                del data[key]
        return data

    def write_keys(self, out: dict[str, Any]) -> dict[str, Any]:
        return {**out, **write_rope(self.rope_parameters)}

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        return tuple(sorted({*super().keys(), "rope_theta", "rope_scaling"}))

    def complete(self) -> None:
        if self.num_key_value_heads == 0:
            object.__setattr__(self, "num_key_value_heads", self.num_attention_heads)
        if self.head_dim == 0 and self.num_attention_heads > 0:
            require_divides(
                self.num_attention_heads, self.hidden_size, "num_attention_heads", "hidden_size"
            )
            object.__setattr__(self, "head_dim", self.hidden_size // self.num_attention_heads)

    def check(self) -> None:
        super().check()
        require(self.intermediate_size >= 1, "intermediate_size", "must be at least 1")
        require(self.head_dim >= 1, "head_dim", "must be at least 1")
        require_divides(
            self.num_key_value_heads,
            self.num_attention_heads,
            "num_key_value_heads",
            "num_attention_heads",
        )
        require_activation(self.hidden_act, "hidden_act")
        require(0 <= self.attention_dropout < 1, "attention_dropout", "must be in [0, 1)")
        check_rope(self.rope_parameters, self.head_dim)
