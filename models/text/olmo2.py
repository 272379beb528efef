"""OLMo 2 (OLMo team 2024): Llama with norms after attention and mlp, and on queries and keys.

Reference: transformers `modeling_olmo2.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any

from tfcli.models.configs.olmo2 import Olmo2Config
from tfcli.models.layers.norms import RMSNormRoundedLast
from tfcli.models.text.llama import LlamaModel


class Olmo2Model(LlamaModel):
    """Llama's body with OLMo 2's blocks."""

    config: Olmo2Config
    norms = (None, "post_attention_layernorm", None, "post_feedforward_layernorm")

    norm_class = RMSNormRoundedLast

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        return {**super().attention_options(layer), **self.whole_norms()}
