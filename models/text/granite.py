"""Granite 3 (IBM 2024): Llama with factors on embeddings, scores, residuals and logits.

Reference: transformers `modeling_granite.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any

import torch

from tfcli.models.configs.granite import GraniteFactors
from tfcli.models.context import Context
from tfcli.models.text.llama import LlamaModel


class GraniteModel(LlamaModel):
    """Llama's body with Granite's factors."""

    config: GraniteFactors

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        return {
            "bias": self.config.attention_bias,
            "scale": self.config.attention_multiplier,
        }

    def block_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.block_options`."""
        return {"scale": self.config.residual_multiplier}

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings, which a factor scales -> [b, s, d]"""
        return super().forward(x * self.config.embedding_multiplier, context)

    def adjust_logits(self, logits: torch.Tensor) -> torch.Tensor:
        """See `Backbone.adjust_logits`."""
        return logits / self.config.logits_scaling
