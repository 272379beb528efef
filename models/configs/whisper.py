"""Whisper's config (transformers: WhisperConfig)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.config import require
from tfcli.models.configs.bart import Seq2SeqConfig
from tfcli.models.configs.speech import SpeechConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class WhisperConfig(SpeechConfig, Seq2SeqConfig):
    """Whisper. Positions without a further word are the decoder's."""

    model_type: ClassVar[str] = "whisper"
    aliases: ClassVar[dict[str, str]] = {
        **Seq2SeqConfig.aliases,
        "max_target_positions": "max_position_embeddings",
    }

    vocab_size: int = 51865
    num_mel_bins: int = 80
    hidden_size: int = 384
    num_hidden_layers: int = 4
    num_attention_heads: int = 6
    encoder_ffn_dim: int = 1536
    decoder_layers: int = 4
    decoder_attention_heads: int = 6
    decoder_ffn_dim: int = 1536
    max_source_positions: int = 1500
    max_position_embeddings: int = 448
    dropout: float = 0.0
    pad_token_id: int | None = 50256
    bos_token_id: int | None = 50256
    eos_token_id: int | list[int] | None = 50256
    decoder_start_token_id: int | None = 50257

    @property
    def window_frames(self) -> int:
        """Frames of features that the encoder takes: 30 seconds of them."""
        return 2 * self.max_source_positions

    def check(self) -> None:
        super().check()
        self.check_sizes("num_mel_bins", "max_source_positions")
        even = self.hidden_size >= 4 and self.hidden_size % 2 == 0
        require(even, "d_model", "must be even and at least 4, for its sines and cosines")
