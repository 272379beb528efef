"""BART's config (transformers: BartConfig), and what those of its descendants share."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require, require_activation, require_divides
from tfcli.models.configs.text import TextConfig
from tfcli.models.limits import MAX_LAYERS

_DROPOUTS = (
    "dropout",
    "attention_dropout",
    "activation_dropout",
    "encoder_layerdrop",
    "decoder_layerdrop",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seq2SeqConfig(TextConfig):
    """An encoder-decoder of BART's shape. The common fields are the encoder's."""

    aliases: ClassVar[dict[str, str]] = {
        "d_model": "hidden_size",
        "encoder_layers": "num_hidden_layers",
        "encoder_attention_heads": "num_attention_heads",
        "init_std": "initializer_range",
    }
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        "is_encoder_decoder": (True, None),
        "is_decoder": (False, None),
    }

    vocab_size: int = 50265
    hidden_size: int = 1024
    num_hidden_layers: int = 12
    num_attention_heads: int = 16
    encoder_ffn_dim: int = 4096
    decoder_layers: int = 12
    decoder_attention_heads: int = 16
    decoder_ffn_dim: int = 4096
    max_position_embeddings: int = 1024
    activation_function: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    encoder_layerdrop: float = 0.0
    decoder_layerdrop: float = 0.0
    scale_embedding: bool = False
    decoder_start_token_id: int | None = None

    @property
    def decoder_rows(self) -> int:
        """Ids that the decoder knows."""
        return self.vocab_size

    @property
    def cached_layers(self) -> int:
        return 2 * self.decoder_layers

    def write_keys(self, out: dict[str, Any]) -> dict[str, Any]:
        return {"is_encoder_decoder": True, **out}  # tools that know no family look at this

    def check(self) -> None:
        super().check()
        for heads in ("encoder_attention_heads", "decoder_attention_heads"):
            count = getattr(self, self.aliases.get(heads, heads))
            require_divides(count, self.hidden_size, heads, "d_model")
        for key in ("encoder_ffn_dim", "decoder_ffn_dim"):
            require(getattr(self, key) >= 1, key, "must be at least 1")
        require(
            0 <= self.decoder_layers <= MAX_LAYERS,
            "decoder_layers",
            f"is {self.decoder_layers:,}, not from 0 to {MAX_LAYERS:,}",
        )
        require_activation(self.activation_function, "activation_function")
        for key in _DROPOUTS:
            require(0 <= getattr(self, key) < 1, key, "must be in [0, 1)")
        start = self.decoder_start_token_id
        if start is not None:
            require(
                0 <= start < self.decoder_rows,
                "decoder_start_token_id",
                f"is {start}, but vocab_size is {self.decoder_rows}",
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class BartConfig(Seq2SeqConfig):
    """BART."""

    model_type: ClassVar[str] = "bart"

    classifier_dropout: float | None = 0.0
    pad_token_id: int | None = 1
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2
    decoder_start_token_id: int | None = 2

    @property
    def num_labels(self) -> int:
        """BART was first tuned on MNLI, so a classifier has three labels by default."""
        return len(self.id2label) if self.id2label else 3
