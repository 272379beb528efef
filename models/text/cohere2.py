"""Cohere's Command R7B and Command A (2024): three layers with a window, then one without.

Layers without a window have no positions.
Reference: transformers `modeling_cohere2.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from tfcli.models.configs.cohere2 import Cohere2Config
from tfcli.models.layers.rotary import Rotary
from tfcli.models.text.cohere import CohereModel


class Cohere2Model(CohereModel):
    """Cohere's body with windows and positions by layer."""

    config: Cohere2Config

    def rotary_of(self, layer: int) -> Rotary | None:
        """See `LlamaModel.rotary_of`."""
        return super().rotary_of(layer) if self.config.rotates(layer) else None
