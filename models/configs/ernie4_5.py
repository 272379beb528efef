"""ERNIE 4.5's config (transformers: Ernie4_5Config)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.configs.rotary import RotaryConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class ErnieRotaryConfig(RotaryConfig):
    """What ERNIE's dense models share with those that have experts: one key for all biases."""

    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        **RotaryConfig.fixed,
        "attention_dropout": (0.0, None),  # no implementation uses it
    }
    default_theta: ClassVar[float] = 500000.0

    vocab_size: int = 103424
    max_position_embeddings: int = 131072
    rms_norm_eps: float = 1e-5
    tie_word_embeddings: bool = True
    use_bias: bool = False
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2

    @property
    def attention_bias(self) -> bool:
        return self.use_bias

    @property
    def mlp_bias(self) -> bool:
        return self.use_bias

    def write_keys(self, out: dict[str, Any]) -> dict[str, Any]:
        written = super().write_keys(out)
        del written["attention_dropout"]
        return written


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ernie45Config(ErnieRotaryConfig):
    """ERNIE 4.5 without experts."""

    model_type: ClassVar[str] = "ernie4_5"
    names_head_dim: ClassVar[bool] = True

    hidden_size: int = 1024
    intermediate_size: int = 3072
    num_hidden_layers: int = 18
    num_attention_heads: int = 16
    num_key_value_heads: int = 2
    head_dim: int = 128
