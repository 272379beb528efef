"""Qwen2 (Yang et al. 2024): biases on queries, keys and values, windows in the upper layers.

Reference: transformers `modeling_qwen2.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any, ClassVar

from tfcli.models.text.mistral import MistralModel


class Qwen2Model(MistralModel):
    """Mistral's body with Qwen's biases."""

    prefixes: ClassVar[dict[str, str]] = {"question-answering": "transformer"}

    def attention_options(self, config: Any, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        return {"bias": True, "out_bias": False}
