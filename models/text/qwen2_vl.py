"""Qwen2-VL's language model (Wang et al. 2024): Qwen2 with positions of three numbers.

Reference: transformers `modeling_qwen2_vl.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from tfcli.models.configs.qwen2_vl import Qwen2VLTextConfig
from tfcli.models.layers.rotary import Rotary
from tfcli.models.text.qwen2 import Qwen2Model


class Qwen2VLTextModel(Qwen2Model):
    """Qwen2's body with M-RoPE. A position of one number is taken for all three."""

    config: Qwen2VLTextConfig

    def make_rotary(self) -> Rotary:
        """Shared by all layers."""
        config = self.config
        return Rotary(
            config.rope_parameters,
            config.head_dim,
            config.max_position_embeddings,
            sections=config.sections,
        )
