"""GLM-4's config (transformers: Glm4Config)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.configs.rotary import RotaryConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Glm4Config(RotaryConfig):
    """GLM-4-0414 and GLM-Z1."""

    model_type: ClassVar[str] = "glm4"
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {}
    default_partial: ClassVar[float | None] = 0.5
    names_head_dim: ClassVar[bool] = True

    vocab_size: int = 151552
    hidden_size: int = 4096
    intermediate_size: int = 13696
    num_hidden_layers: int = 40
    num_attention_heads: int = 32
    num_key_value_heads: int = 2
    head_dim: int = 128
    max_position_embeddings: int = 131072
    rms_norm_eps: float = 1.5625e-7
    attention_bias: bool = True
    pad_token_id: int | None = 151329
    eos_token_id: int | list[int] | None = dataclasses.field(
        default_factory=lambda: [151329, 151336, 151338]
    )
