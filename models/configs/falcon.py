"""Falcon's config (transformers: FalconConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require, require_activation, require_divides
from tfcli.models.configs.rope import check_rope, read_rope, write_rope
from tfcli.models.configs.text import TextConfig
from tfcli.models.limits import LIMIT


@dataclasses.dataclass(frozen=True, kw_only=True)
class FalconConfig(TextConfig):
    """Falcon 7B (parallel, one key head), Falcon-RW (ALiBi) and 40B (the new architecture)."""

    model_type: ClassVar[str] = "falcon"
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        "partial_rotary_factor": (1.0, None),
        "apply_residual_connection_post_layernorm": (False, None),
    }

    vocab_size: int = 65024
    hidden_size: int = 4544
    num_hidden_layers: int = 32
    num_attention_heads: int = 71
    num_kv_heads: int = 0  # 0: as many as num_attention_heads
    ffn_hidden_size: int = 0  # 0: four times hidden_size
    activation: str = "gelu"
    max_position_embeddings: int = 2048
    new_decoder_architecture: bool = False
    multi_query: bool = True
    parallel_attn: bool = True
    num_ln_in_parallel_attn: int | None = None
    alibi: bool = False
    bias: bool = False
    layer_norm_epsilon: float = 1e-5
    hidden_dropout: float = 0.0
    attention_dropout: float = 0.0
    rope_parameters: dict[str, Any] = dataclasses.field(
        default_factory=lambda: {"rope_type": "default", "rope_theta": 10000.0}
    )
    bos_token_id: int | None = 11
    eos_token_id: int | list[int] | None = 11

    @property
    def num_key_value_heads(self) -> int:
        many = self.new_decoder_architecture or not self.multi_query
        return self.num_kv_heads if many else 1

    @property
    def longest_input(self) -> int:
        return LIMIT if self.alibi else super().longest_input

    @property
    def two_norms(self) -> bool:
        """Whether attention and mlp, side by side, have a norm each."""
        return self.new_decoder_architecture and self.num_ln_in_parallel_attn in (2, None)

    @property
    def head_dropout(self) -> float:
        dropout = self.classifier_dropout
        return self.hidden_dropout if dropout is None else dropout

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        older = data.pop("n_embed", None)
        if older is not None:
            data["hidden_size"] = older
        data.setdefault("max_position_embeddings", cls.max_position_embeddings)
        data["rope_parameters"] = read_rope(data)
        for key in ("num_kv_heads", "ffn_hidden_size", "hidden_dropout", "attention_dropout"):
            if data.get(key, 0) is None:
                del data[key]
        return data

    def write_keys(self, out: dict[str, Any]) -> dict[str, Any]:
        return {**out, **write_rope(self.rope_parameters)}

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        return tuple(sorted({*super().keys(), "rope_theta", "rope_scaling"}))

    def complete(self) -> None:
        if self.num_kv_heads == 0:
            object.__setattr__(self, "num_kv_heads", self.num_attention_heads)
        if self.ffn_hidden_size == 0:
            object.__setattr__(self, "ffn_hidden_size", 4 * self.hidden_size)

    def check(self) -> None:
        super().check()
        require_divides(
            self.num_attention_heads, self.hidden_size, "num_attention_heads", "hidden_size"
        )
        require_divides(
            self.num_key_value_heads,
            self.num_attention_heads,
            "num_kv_heads",
            "num_attention_heads",
        )
        require(self.ffn_hidden_size >= 1, "ffn_hidden_size", "must be at least 1")
        require_activation(self.activation, "activation")
        for key in ("hidden_dropout", "attention_dropout"):
            require(0 <= getattr(self, key) < 1, key, "must be in [0, 1)")
        require(
            self.num_ln_in_parallel_attn in (None, 1, 2),
            "num_ln_in_parallel_attn",
            f"is {self.num_ln_in_parallel_attn}; supported: 1, 2",
        )
        if self.new_decoder_architecture:
            require(
                self.parallel_attn, "parallel_attn", "must be true with new_decoder_architecture"
            )
        else:
            require(
                self.multi_query or self.num_kv_heads == self.num_attention_heads,
                "num_kv_heads",
                f"is {self.num_kv_heads}, which needs new_decoder_architecture",
            )
            require(
                self.num_ln_in_parallel_attn != 2,
                "num_ln_in_parallel_attn",
                "is 2, which needs new_decoder_architecture",
            )
        if not self.alibi:
            check_rope(self.rope_parameters, self.head_dim)
            partial = self.rope_parameters.get("partial_rotary_factor", 1.0)
            require(partial == 1.0, "partial_rotary_factor", f"is {partial}; supported: 1.0")
