"""Marian's config (transformers: MarianConfig)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.config import require
from tfcli.models.configs.bart import Seq2SeqConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class MarianConfig(Seq2SeqConfig):
    """The translation models of OPUS-MT."""

    model_type: ClassVar[str] = "marian"

    vocab_size: int = 58101
    decoder_vocab_size: int | None = None
    share_encoder_decoder_embeddings: bool = True
    pad_token_id: int | None = 58100
    eos_token_id: int | list[int] | None = 0
    decoder_start_token_id: int | None = 58100

    @property
    def decoder_rows(self) -> int:
        return self.decoder_vocab_size or self.vocab_size

    def complete(self) -> None:
        super().complete()
        object.__setattr__(self, "decoder_vocab_size", self.decoder_rows)

    def check(self) -> None:
        super().check()
        require(self.decoder_rows >= 1, "decoder_vocab_size", "must be at least 1")
        require(
            self.decoder_rows == self.vocab_size or not self.share_encoder_decoder_embeddings,
            "decoder_vocab_size",
            f"is {self.decoder_rows}, but shared embeddings have vocab_size {self.vocab_size}",
        )
        require(
            (self.pad_token_id or 0) < self.decoder_rows,
            "pad_token_id",
            f"is {self.pad_token_id}, but decoder_vocab_size is {self.decoder_rows}",
        )
