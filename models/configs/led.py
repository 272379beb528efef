"""LED's config (transformers: LEDConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.bart import Seq2SeqConfig
from tfcli.models.configs.longformer import check_windows
from tfcli.models.limits import LIMIT


@dataclasses.dataclass(frozen=True, kw_only=True)
class LEDConfig(Seq2SeqConfig):
    """LED.

    Args:
        max_decoder_position_embeddings: positions of a target.
        attention_window: how many neighbours a token of a source sees, for all layers or for each.
    """

    model_type: ClassVar[str] = "led"
    aliases: ClassVar[dict[str, str]] = Seq2SeqConfig.aliases | {
        "max_encoder_position_embeddings": "max_position_embeddings"
    }
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = Seq2SeqConfig.fixed | {
        "scale_embedding": (False,)
    }

    max_position_embeddings: int = 16384
    max_decoder_position_embeddings: int = 1024
    attention_window: list[int] | int = 512
    classifier_dropout: float | None = 0.0
    pad_token_id: int | None = 1
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2
    decoder_start_token_id: int | None = 2

    def write_keys(self, out: dict[str, Any]) -> dict[str, Any]:
        del out["scale_embedding"]  # no key of this family
        return super().write_keys(out)

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        return tuple(sorted({*super().keys()} - {"scale_embedding"}))

    def check(self) -> None:
        super().check()
        check_windows(self.attention_window, self.num_hidden_layers)
        positions = self.max_decoder_position_embeddings
        require(1 <= positions <= LIMIT, "max_decoder_position_embeddings", f"is {positions:,}")
