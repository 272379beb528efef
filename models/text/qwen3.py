"""Qwen3 (Yang et al. 2025): norms on the heads of queries and keys.

Reference: transformers `modeling_qwen3.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any

from tfcli.models.layers.norms import RMSNorm
from tfcli.models.text.qwen2 import Qwen2Model


class Qwen3Model(Qwen2Model):
    """Qwen2's body with norms in place of biases."""

    def attention_options(self, config: Any, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        return {
            "bias": config.attention_bias,
            "q_norm": RMSNorm(config.head_dim, config.rms_norm_eps),
            "k_norm": RMSNorm(config.head_dim, config.rms_norm_eps),
        }
