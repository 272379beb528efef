"""Blenderbot's config (transformers: BlenderbotConfig)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.configs.bart import Seq2SeqConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlenderbotConfig(Seq2SeqConfig):
    """Blenderbot."""

    model_type: ClassVar[str] = "blenderbot"

    vocab_size: int = 8008
    hidden_size: int = 2560
    num_hidden_layers: int = 2
    num_attention_heads: int = 32
    encoder_ffn_dim: int = 10240
    decoder_layers: int = 24
    decoder_attention_heads: int = 32
    decoder_ffn_dim: int = 10240
    max_position_embeddings: int = 128
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    decoder_start_token_id: int | None = 1
