"""Phi (Gunasekar et al. 2023; Phi-2): attention and mlp side by side, biases everywhere.

Positions turn a part of each head.
Reference: transformers `modeling_phi.py`; names of modules and parameters are the same, but for
`q_layernorm`, `k_layernorm` and `final_layernorm`, which Llama's body calls otherwise.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tfcli.models.blocks.parallel import ParallelBlock
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.phi import PhiConfig
from tfcli.models.context import Context
from tfcli.models.layers.attention import RotaryAttention
from tfcli.models.layers.mlp import PlainMLP
from tfcli.models.layers.norms import layer_norm
from tfcli.models.rules import Rename
from tfcli.models.text.llama import LlamaModel


class PhiAttention(RotaryAttention):
    """Rotary attention with `dense`."""

    out = "dense"


class PhiModel(LlamaModel):
    """Llama's body with Phi's blocks, norms and dropout."""

    config: PhiConfig
    attention_class = PhiAttention

    rules = (
        Rename(r"\.self_attn\.([qk])_norm\.", r".self_attn.\1_layernorm."),
        Rename(r"^(\w+)\.norm\.", r"\1.final_layernorm."),
    )
    walk = CalibrationWalk(
        blocks="layers",
        groups=(
            ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            ("self_attn.dense",),
            ("mlp.fc1",),
            ("mlp.fc2",),
        ),
    )

    def __init__(self, config: PhiConfig, attention: str) -> None:
        super().__init__(config, attention)
        self.dropout = nn.Dropout(config.embd_pdrop)

    def make_norm(self) -> nn.Module:
        """See `LlamaModel.make_norm`."""
        return layer_norm(self.config.hidden_size, self.config.layer_norm_eps)

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        config, options = self.config, super().attention_options(layer)
        if not config.qk_layernorm:
            return options
        norms = (layer_norm(config.head_dim, config.layer_norm_eps) for _ in "qk")
        return {**options, **dict(zip(("q_norm", "k_norm"), norms, strict=True))}

    def make_mlp(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_mlp`."""
        config = self.config
        return PlainMLP(
            config.hidden_size,
            config.intermediate_size,
            config.hidden_act,
            config.mlp_bias,
            names=("fc1", "fc2"),
        )

    def make_block(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_block`."""
        return ParallelBlock(
            self.make_attention(layer),
            self.make_mlp(layer),
            self.make_norm(),
            dropout=self.config.resid_pdrop,
        )

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings, after which there is dropout -> [b, s, d]"""
        return super().forward(self.dropout(x), context)

    def head_bias(self) -> bool:
        """See `Backbone.head_bias`."""
        return True
