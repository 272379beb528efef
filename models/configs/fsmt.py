"""FSMT's config (transformers: FSMTConfig)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.config import require
from tfcli.models.configs.bart import Seq2SeqConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class FSMTConfig(Seq2SeqConfig):
    """FSMT. Source and target have a vocabulary each."""

    model_type: ClassVar[str] = "fsmt"
    aliases: ClassVar[dict[str, str]] = Seq2SeqConfig.aliases | {
        "src_vocab_size": "vocab_size",
        "tgt_vocab_size": "decoder_vocab_size",
    }

    vocab_size: int = 42024
    decoder_vocab_size: int = 42024
    activation_function: str = "relu"
    scale_embedding: bool = True
    tie_word_embeddings: bool = False
    pad_token_id: int | None = 1
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2
    decoder_start_token_id: int | None = 2

    @property
    def decoder_rows(self) -> int:
        return self.decoder_vocab_size

    def check(self) -> None:
        require(self.decoder_vocab_size >= 1, "tgt_vocab_size", "must be at least 1")
        super().check()
        require(self.pad_token_id is not None, "pad_token_id", "is needed: positions follow it")
        require(
            not self.tie_word_embeddings or self.decoder_vocab_size == self.vocab_size,
            "tgt_vocab_size",
            f"is {self.decoder_vocab_size}, but tied tables have src_vocab_size {self.vocab_size}",
        )
