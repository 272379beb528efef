"""Qwen2 (Yang et al. 2024): biases on queries, keys and values, windows in the upper layers.

Reference: transformers `modeling_qwen2.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any

from tfcli.models.text.llama import LlamaModel


class Qwen2Model(LlamaModel):
    """Llama's body with Qwen's biases."""

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        return {"bias": True, "out_bias": False}
