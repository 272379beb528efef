"""CTRL's config (transformers: CTRLConfig)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.config import require, require_divides
from tfcli.models.configs.gpt import SIZES
from tfcli.models.configs.text import TextConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class CTRLConfig(TextConfig):
    """CTRL. The norms within its blocks have no key."""

    model_type: ClassVar[str] = "ctrl"
    aliases: ClassVar[dict[str, str]] = SIZES

    vocab_size: int = 246534
    hidden_size: int = 1280
    num_hidden_layers: int = 48
    num_attention_heads: int = 16
    max_position_embeddings: int = 256
    dff: int = 8192
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-6

    @property
    def type_vocab_size(self) -> int:
        """The types of its tokens are words."""
        return self.vocab_size

    def check(self) -> None:
        super().check()
        require_divides(self.num_attention_heads, self.hidden_size, "n_head", "n_embd")
        require(self.dff >= 1, "dff", "must be at least 1")
        for key in ("resid_pdrop", "embd_pdrop"):
            require(0 <= getattr(self, key) < 1, key, "must be in [0, 1)")
