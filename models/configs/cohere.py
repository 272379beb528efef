"""Cohere's config (transformers: CohereConfig)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.configs.rotary import RotaryConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class CommandConfig(RotaryConfig):
    """What the configs of Cohere's models share."""

    default_theta: ClassVar[float] = 500000.0

    vocab_size: int = 256000
    hidden_size: int = 8192
    intermediate_size: int = 22528
    num_hidden_layers: int = 40
    num_attention_heads: int = 64
    max_position_embeddings: int = 8192
    tie_word_embeddings: bool = True
    layer_norm_eps: float = 1e-5
    attention_bias: bool = False
    logit_scale: float = 0.0625
    pad_token_id: int | None = 0
    bos_token_id: int | None = 5
    eos_token_id: int | list[int] | None = 255001

    @property
    def use_qk_norm(self) -> bool:
        """Whether heads of queries and keys have norms."""
        return False


@dataclasses.dataclass(frozen=True, kw_only=True)
class CohereConfig(CommandConfig):
    """Command R and Aya 23."""

    model_type: ClassVar[str] = "cohere"

    use_qk_norm: bool = False
