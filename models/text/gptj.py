"""GPT-J (Wang and Komatsuzaki 2021): attention and mlp side by side, interleaved rotary positions.

Reference: transformers `modeling_gptj.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import nn

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.gptj import GPTJConfig
from tfcli.models.context import Context
from tfcli.models.folding import Fold, after_norm
from tfcli.models.layers.attention import RotaryAttention
from tfcli.models.layers.mlp import PlainMLP
from tfcli.models.layers.norms import layer_norm
from tfcli.models.layers.rotary import Rotary
from tfcli.models.text.gpt2 import GPT2Model


class GPTJAttention(RotaryAttention):
    """Rotary attention with `out_proj`."""

    out = "out_proj"


class GPTJBlock(nn.Module):
    """x + attention(norm(x)) + mlp(norm(x)), with one norm for both.

    Args:
        attention: [b, s, d] and the context -> [b, s, d]
        config: gives the width, the mlp, the norm and the dropout.
    """

    def __init__(self, attention: nn.Module, config: GPTJConfig) -> None:
        super().__init__()
        self.ln_1 = layer_norm(config.hidden_size, config.layer_norm_epsilon)
        self.attn = attention
        self.mlp = PlainMLP(
            config.hidden_size,
            config.intermediate_size,
            config.activation_function,
            bias=True,
            names=("fc_in", "fc_out"),
        )
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        normed = self.ln_1(x)
        return x + self.dropout(self.attn(normed, context)) + self.dropout(self.mlp(normed))

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        yield from after_norm("ln_1", {"attn": self.attn, "mlp": self.mlp})


class GPTJModel(GPT2Model):
    """GPT-2's body with GPT-J's positions and blocks."""

    config: GPTJConfig

    attention_class: ClassVar[type[RotaryAttention]] = GPTJAttention
    rules = ()
    ignorable: ClassVar[dict[str, str]] = {
        r"\.attn\.((masked_)?bias|causal_mask)$": "a causal mask, which is computed here",
        r"\.attn\.embed_positions$": "computed from the config",
    }
    walk = CalibrationWalk(
        blocks="h",
        groups=(
            ("attn.q_proj", "attn.k_proj", "attn.v_proj"),
            ("attn.out_proj",),
            ("mlp.fc_in",),
            ("mlp.fc_out",),
        ),
    )

    def add_positions(self) -> None:
        """See `GPT2Model.add_positions`: one rotary for all layers."""
        rope = {"rope_type": "default", "rope_theta": 10000.0}
        self.rotary = Rotary(
            rope, self.config.rotary_dim, self.config.max_position_embeddings, interleaved=True
        )

    def positioned(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """See `GPT2Model.positioned`: attention turns queries and keys instead."""
        return x

    def make_attention(self, layer: int) -> nn.Module:
        """See `GPT2Model.make_attention`."""
        config = self.config
        return self.attention_class(
            config.hidden_size,
            config.num_attention_heads,
            config.num_attention_heads,
            config.head_dim,
            layer=layer,
            rotary=self.rotary,
            backend=self.attention,
            dropout=config.attn_pdrop,
        )

    def make_block(self, layer: int) -> nn.Module:
        """See `GPT2Model.make_block`."""
        return GPTJBlock(self.make_attention(layer), self.config)

    def head_bias(self) -> bool:
        """See `Backbone.head_bias`."""
        return True

    def init_std(self, name: str) -> float:
        """See `Backbone.init_std`."""
        return self.config.initializer_range
