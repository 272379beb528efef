"""GLM-4-0414 (GLM team 2024, Zhipu 2025): norms before and after attention and mlp.

Positions turn neighbouring dimensions, in the first part of each head.
Reference: transformers `modeling_glm4.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.glm4 import Glm4Config
from tfcli.models.layers.mlp import FusedGatedMLP
from tfcli.models.text.llama import LlamaModel


class Glm4Model(LlamaModel):
    """Llama's body with GLM-4's positions and blocks."""

    config: Glm4Config
    interleaved = True
    mlp_class = FusedGatedMLP
    norms = (
        "input_layernorm",
        "post_self_attn_layernorm",
        "post_attention_layernorm",  # before the mlp, as in Llama
        "post_mlp_layernorm",
    )
    walk = CalibrationWalk(
        blocks="layers",
        groups=(
            ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            ("self_attn.o_proj",),
            ("mlp.gate_up_proj",),
            ("mlp.down_proj",),
        ),
    )

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        return {"bias": self.config.attention_bias, "out_bias": False}
