"""Gemma 2 (Gemma team 2024): windows in every other layer, four norms a block, capped scores.

Reference: transformers `modeling_gemma2.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any

import torch

from tfcli.models.configs.gemma2 import Gemma2Config
from tfcli.models.text.gemma import GemmaModel


class Gemma2Model(GemmaModel):
    """Gemma's body with Gemma 2's blocks."""

    config: Gemma2Config
    norms = (
        "input_layernorm",
        "post_attention_layernorm",
        "pre_feedforward_layernorm",
        "post_feedforward_layernorm",
    )

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        config = self.config
        return {
            "bias": config.attention_bias,
            "scale": config.query_pre_attn_scalar**-0.5,
            "softcap": config.attn_logit_softcapping,
        }

    def adjust_logits(self, logits: torch.Tensor) -> torch.Tensor:
        """See `Backbone.adjust_logits`."""
        cap = self.config.final_logit_softcapping
        return logits if cap is None else torch.tanh(logits / cap) * cap
