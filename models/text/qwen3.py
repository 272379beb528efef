"""Qwen3 (Yang et al. 2025): norms on the heads of queries and keys.

Reference: transformers `modeling_qwen3.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any

from tfcli.models.configs.qwen3 import Qwen3Config
from tfcli.models.text.llama import LlamaModel


class Qwen3Model(LlamaModel):
    """Llama's body with norms on the heads of queries and keys."""

    config: Qwen3Config

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        return {**super().attention_options(layer), **self.head_norms()}
