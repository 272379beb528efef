"""Mistral's config (transformers: MistralConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.rotary import RotaryConfig
from tfcli.models.configs.windows import FULL, SLIDING, check_window


@dataclasses.dataclass(frozen=True, kw_only=True)
class MistralConfig(RotaryConfig):
    """Mistral 7B, Nemo, Small and their like. All layers have one window, or none."""

    model_type: ClassVar[str] = "mistral"
    names_head_dim: ClassVar[bool] = True

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 14336
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = 8
    max_position_embeddings: int = 131072
    rms_norm_eps: float = 1e-6
    sliding_window: int | None = 4096
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2

    def window(self, layer: int) -> int | None:
        return self.sliding_window

    def check(self) -> None:
        super().check()
        check_window(self.sliding_window)
        # Ministral alternates. Under this model_type its list would be ignored.
        kinds: list[Any] = self.extra.get("layer_types") or []
        own = FULL if self.sliding_window is None else SLIDING
        require(
            all(kind == own for kind in kinds),
            "layer_types",
            f"must be {own} throughout: layers of the family mistral are alike",
        )
