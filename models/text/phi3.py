"""Phi-3 (Abdin et al. 2024): Llama's body with fused linears and LongRoPE.

Reference: transformers `modeling_phi3.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.phi3 import Phi3Config
from tfcli.models.layers.attention import FusedRotaryAttention
from tfcli.models.layers.mlp import FusedGatedMLP
from tfcli.models.text.llama import LlamaModel


class Phi3Model(LlamaModel):
    """Mistral's body, with queries, keys and values in one linear, and gate and up in another."""

    config: Phi3Config
    attention_class = FusedRotaryAttention
    mlp_class = FusedGatedMLP
    walk = CalibrationWalk(
        blocks="layers",
        groups=(
            ("self_attn.qkv_proj",),
            ("self_attn.o_proj",),
            ("mlp.gate_up_proj",),
            ("mlp.down_proj",),
        ),
    )

    def block_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.block_options`."""
        return {"dropout": self.config.resid_pdrop}
