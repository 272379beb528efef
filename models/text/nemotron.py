"""Nemotron-4 (Parmar et al. 2024) and Minitron: layer norms stored less 1, a plain mlp.

Positions turn a part of each head.
Reference: transformers `modeling_nemotron.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from torch import nn

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.nemotron import NemotronConfig
from tfcli.models.layers.mlp import PlainMLP
from tfcli.models.layers.norms import OffsetLayerNorm
from tfcli.models.text.llama import LlamaModel


class NemotronModel(LlamaModel):
    """Llama's body with Nemotron's norms and mlp."""

    config: NemotronConfig

    walk = CalibrationWalk(
        blocks="layers",
        groups=(
            ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            ("self_attn.o_proj",),
            ("mlp.up_proj",),
            ("mlp.down_proj",),
        ),
    )

    def make_norm(self) -> nn.Module:
        """See `LlamaModel.make_norm`."""
        return OffsetLayerNorm(self.config.hidden_size, eps=self.config.norm_eps)

    def make_mlp(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_mlp`."""
        config = self.config
        return PlainMLP(
            config.hidden_size,
            config.intermediate_size,
            config.hidden_act,
            config.mlp_bias,
            names=("up_proj", "down_proj"),
        )
