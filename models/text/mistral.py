"""Mistral (Jiang et al. 2023): Llama's body, without biases, with a sliding window.

Reference: transformers `modeling_mistral.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from tfcli.models.layers.mlp import GatedMLP
from tfcli.models.text.llama import LlamaModel


class MistralModel(LlamaModel):
    """The window is the config's, see `ModelConfig.window`."""

    prefixes: ClassVar[dict[str, str]] = {}

    def attention_options(self, config: Any, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        return {"bias": False}

    def make_mlp(self, config: Any, layer: int) -> nn.Module:
        """See `LlamaModel.make_mlp`."""
        return GatedMLP(config.hidden_size, config.intermediate_size, config.hidden_act, bias=False)
