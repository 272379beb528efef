"""BLOOM's config (transformers: BloomConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require, require_divides
from tfcli.models.configs.text import TextConfig
from tfcli.models.limits import LIMIT


@dataclasses.dataclass(frozen=True, kw_only=True)
class BloomConfig(TextConfig):
    """BLOOM and BLOOMZ. `seq_length` is the trained length; positions have no limit."""

    model_type: ClassVar[str] = "bloom"
    aliases: ClassVar[dict[str, str]] = {
        "n_layer": "num_hidden_layers",
        "n_head": "num_attention_heads",
        "seq_length": "max_position_embeddings",
    }
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {"slow_but_exact": (False, None)}

    vocab_size: int = 250880
    hidden_size: int = 64
    num_hidden_layers: int = 2
    num_attention_heads: int = 8
    max_position_embeddings: int = 2048
    layer_norm_epsilon: float = 1e-5
    apply_residual_connection_post_layernorm: bool = False
    hidden_dropout: float = 0.0
    attention_dropout: float = 0.0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2

    @property
    def longest_input(self) -> int:
        return LIMIT

    @property
    def head_dropout(self) -> float:
        dropout = self.classifier_dropout
        return self.hidden_dropout if dropout is None else dropout

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        older = data.pop("n_embed", None)
        if older is not None:
            data["hidden_size"] = older
        return data

    def check(self) -> None:
        super().check()
        require_divides(self.num_attention_heads, self.hidden_size, "n_head", "hidden_size")
        for key in ("hidden_dropout", "attention_dropout"):
            require(0 <= getattr(self, key) < 1, key, "must be in [0, 1)")
