"""Granite 3 (IBM 2024): Llama with factors on embeddings, scores, residuals and logits.

Reference: transformers `modeling_granite.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tfcli.models.blocks.decoder import DecoderBlock
from tfcli.models.configs.granite import GraniteConfig
from tfcli.models.text.llama import LlamaModel


class GraniteModel(LlamaModel):
    """Llama's body with Granite's factors."""

    config: GraniteConfig

    def attention_options(self, config: Any, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        return {
            "bias": config.attention_bias,
            "scale": config.attention_multiplier,
        }

    def make_block(self, config: Any, layer: int, attention: str) -> nn.Module:
        """See `LlamaModel.make_block`."""
        return DecoderBlock(
            self.make_attention(config, layer, attention),
            self.make_mlp(config, layer),
            self.make_norm(config),
            self.make_norm(config),
            scale=config.residual_multiplier,
        )

    def embed(
        self, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor | None
    ) -> torch.Tensor:
        """See `LlamaModel.embed`."""
        return super().embed(input_ids, inputs_embeds) * self.config.embedding_multiplier

    def adjust_logits(self, logits: torch.Tensor) -> torch.Tensor:
        """See `Backbone.adjust_logits`."""
        return logits / self.config.logits_scaling
