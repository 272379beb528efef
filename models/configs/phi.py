"""Phi's config (transformers: PhiConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.rotary import RotaryConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhiConfig(RotaryConfig):
    """Phi-1, 1.5 and 2."""

    model_type: ClassVar[str] = "phi"
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {}
    default_partial: ClassVar[float | None] = 0.5

    vocab_size: int = 51200
    hidden_size: int = 2048
    intermediate_size: int = 8192
    num_hidden_layers: int = 24
    num_attention_heads: int = 32
    hidden_act: str = "gelu_new"
    max_position_embeddings: int = 2048
    layer_norm_eps: float = 1e-5
    qk_layernorm: bool = False
    resid_pdrop: float = 0.0
    embd_pdrop: float = 0.0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2

    @property
    def attention_bias(self) -> bool:
        return True

    @property
    def mlp_bias(self) -> bool:
        return True

    def check(self) -> None:
        super().check()
        for key in ("resid_pdrop", "embd_pdrop"):
            require(0 <= getattr(self, key) < 1, key, "must be in [0, 1)")
