"""OLMo 3 (OLMo team 2025): three layers with a window, then one with stretched positions.

Reference: transformers `modeling_olmo3.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from tfcli.models.configs.olmo3 import Olmo3Config
from tfcli.models.layers.rotary import Rotary
from tfcli.models.text.olmo2 import Olmo2Model


class Olmo3Model(Olmo2Model):
    """OLMo 2's body with windows and positions by layer."""

    config: Olmo3Config

    def make_rotary(self) -> dict[str, Rotary]:
        """See `LlamaModel.make_rotary`."""
        config = self.config
        return Rotary.by_kind(
            config.rope_parameters, config.head_dim, config.max_position_embeddings
        )

    def rotary_of(self, layer: int) -> Rotary | None:
        """See `LlamaModel.rotary_of`."""
        rotary: Rotary = self.rotary[self.config.kind(layer)]
        return rotary
