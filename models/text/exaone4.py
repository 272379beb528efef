"""EXAONE 4 (LG AI Research 2025): norms after attention and mlp, windows, heads with norms.

Where some layers have a window, those without one have no positions.
Reference: transformers `modeling_exaone4.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any

from tfcli.models.configs.exaone4 import Exaone4Config
from tfcli.models.layers.rotary import Rotary
from tfcli.models.text.llama import LlamaModel


class Exaone4Model(LlamaModel):
    """Llama's body with OLMo 2's blocks and Qwen 3's norms of heads."""

    config: Exaone4Config
    norms = (None, "post_attention_layernorm", None, "post_feedforward_layernorm")

    def rotary_of(self, layer: int) -> Rotary | None:
        """See `LlamaModel.rotary_of`."""
        return super().rotary_of(layer) if self.config.rotates(layer) else None

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        return {**super().attention_options(layer), **self.head_norms()}
