"""Gemma 3's text model (Gemma team 2025): five layers with a window, then one without.

Both kinds have positions of their own. Queries and keys are normalised instead of capped. With
`use_bidirectional_attention` it is EmbeddingGemma (Vera et al. 2025).
Reference: transformers `modeling_gemma3.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any

from tfcli.models.configs.gemma3_text import Gemma3TextConfig
from tfcli.models.layers.norms import OffsetRMSNorm
from tfcli.models.layers.rotary import Rotary
from tfcli.models.text.gemma2 import Gemma2Model


class Gemma3TextModel(Gemma2Model):
    """Gemma 2's body with two sets of positions and norms on queries and keys."""

    config: Gemma3TextConfig

    def make_rotary(self) -> dict[str, Rotary]:
        """See `LlamaModel.make_rotary`."""
        config = self.config
        return Rotary.by_kind(
            config.rope_parameters, config.head_dim, config.max_position_embeddings
        )

    def rotary_of(self, layer: int) -> Rotary | None:
        """See `LlamaModel.rotary_of`."""
        rotary: Rotary = self.rotary[self.config.kind(layer)]
        return rotary

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        config = self.config
        return {
            **super().attention_options(layer),
            "bidirectional": config.bidirectional,
            "q_norm": OffsetRMSNorm(config.head_dim, config.rms_norm_eps),
            "k_norm": OffsetRMSNorm(config.head_dim, config.rms_norm_eps),
        }
