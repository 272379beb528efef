"""M2M-100's config (transformers: M2M100Config)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.config import require
from tfcli.models.configs.bart import Seq2SeqConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class M2M100Config(Seq2SeqConfig):
    """M2M-100 and NLLB."""

    model_type: ClassVar[str] = "m2m_100"

    vocab_size: int = 128112
    activation_function: str = "relu"
    attention_dropout: float = 0.1
    encoder_layerdrop: float = 0.05
    decoder_layerdrop: float = 0.05
    scale_embedding: bool = True
    pad_token_id: int | None = 1
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2
    decoder_start_token_id: int | None = 2

    def check(self) -> None:
        super().check()
        require(self.hidden_size >= 4, "d_model", "must be at least 4, for its sines and cosines")
        require(
            self.pad_token_id is not None and self.pad_token_id >= 0,
            "pad_token_id",
            "must be given: positions are counted from it on",
        )
