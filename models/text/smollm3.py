"""SmolLM3 (Hugging Face 2025): Llama's body, with layers that have no positions.

Reference: transformers `modeling_smollm3.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from tfcli.models.configs.smollm3 import SmolLM3Config
from tfcli.models.layers.rotary import Rotary
from tfcli.models.text.llama import LlamaModel


class SmolLM3Model(LlamaModel):
    """Positions are left out as in NoPE (Yang et al. 2025, "RoPE to NoPE and back again")."""

    config: SmolLM3Config

    def rotary_of(self, layer: int) -> Rotary | None:
        """See `LlamaModel.rotary_of`."""
        return self.rotary if self.config.rotates(layer) else None
