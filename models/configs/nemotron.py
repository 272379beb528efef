"""Nemotron's config (transformers: NemotronConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.configs.rotary import RotaryConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class NemotronConfig(RotaryConfig):
    """Nemotron 3 and 4, and Minitron."""

    model_type: ClassVar[str] = "nemotron"
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {}
    default_partial: ClassVar[float | None] = 0.5
    names_head_dim: ClassVar[bool] = True

    vocab_size: int = 256000
    hidden_size: int = 6144
    intermediate_size: int = 24576
    num_hidden_layers: int = 32
    num_attention_heads: int = 48
    hidden_act: str = "relu2"
    max_position_embeddings: int = 4096
    initializer_range: float = 0.0134
    norm_eps: float = 1e-5
    attention_bias: bool = False
    mlp_bias: bool = False
    bos_token_id: int | None = 2
    eos_token_id: int | list[int] | None = 3
