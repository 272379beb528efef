"""T5Gemma's config (transformers: T5GemmaConfig) and that of either of its stacks."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Self

from tfcli.models.config import BaseConfig, require
from tfcli.models.configs.gemma2 import Gemma2Config
from tfcli.models.configs.text import TextConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class T5GemmaModuleConfig(Gemma2Config):
    """One stack: Gemma 2's sizes, with dropout, and a decoder's layers look at a source too."""

    model_type: ClassVar[str] = "t5_gemma_module"

    dropout_rate: float = 0.0
    is_decoder: bool = False
    cross_attention_hidden_size: int | None = None

    @property
    def decoder_start_token_id(self) -> int | None:
        """A target begins as any text does."""
        return self.bos_token_id

    @property
    def cached_layers(self) -> int:
        return 2 * self.num_hidden_layers

    def window(self, layer: int) -> int | None:
        """What layers keep of the source comes after them, and is whole.

        An encoder's window is its radius, to both sides and without the query's own key.
        """
        window = super().window(layer) if layer < self.num_hidden_layers else None
        return window if window is None or self.is_decoder else window + 1

    def check(self) -> None:
        super().check()
        require(0 <= self.dropout_rate < 1, "dropout_rate", "must be in [0, 1)")
        width = self.cross_attention_hidden_size
        require(width is None or width >= 1, "cross_attention_hidden_size", "must be at least 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class T5GemmaConfig(BaseConfig):
    """T5Gemma. Which stack is which, their dropout and the source's width follow from the whole."""

    model_type: ClassVar[str] = "t5gemma"
    aliases: ClassVar[dict[str, str]] = {"classifier_dropout_rate": "classifier_dropout"}
    nested: ClassVar[dict[str, str]] = {
        "encoder": T5GemmaModuleConfig.model_type,
        "decoder": T5GemmaModuleConfig.model_type,
    }

    encoder: T5GemmaModuleConfig = dataclasses.field(default_factory=T5GemmaModuleConfig)
    decoder: T5GemmaModuleConfig = dataclasses.field(default_factory=T5GemmaModuleConfig)
    vocab_size: int | None = None
    dropout_rate: float = 0.0
    attention_dropout: float = 0.0
    classifier_dropout: float | None = 0.0
    tie_word_embeddings: bool = True
    is_encoder_decoder: bool = True

    @property
    def text(self) -> TextConfig:
        """The decoder's, which writes."""
        return self.decoder

    @property
    def has_text(self) -> bool:
        return True

    def with_text(self, text: TextConfig) -> Self:
        """See `BaseConfig.with_text`; the encoder reads the same vocabulary."""
        rows = text.vocab_size
        encoder = self.encoder.replace(vocab_size=rows)
        return self.replace(encoder=encoder, decoder=text, vocab_size=rows)

    def complete(self) -> None:
        shared = {"dropout_rate": self.dropout_rate, "attention_dropout": self.attention_dropout}
        width = self.encoder.hidden_size
        encoder = self.encoder.replace(is_decoder=False, **shared)
        decoder = self.decoder.replace(is_decoder=True, cross_attention_hidden_size=width, **shared)
        rows = decoder.vocab_size if self.vocab_size is None else self.vocab_size
        for name, value in {"encoder": encoder, "decoder": decoder, "vocab_size": rows}.items():
            object.__setattr__(self, name, value)

    def check(self) -> None:
        super().check()
        for name in ("encoder", "decoder"):
            rows = getattr(self, name).vocab_size
            require(
                rows == self.vocab_size,
                f"{name}.vocab_size",
                f"is {rows}, but vocab_size is {self.vocab_size}: source and target share one",
            )
