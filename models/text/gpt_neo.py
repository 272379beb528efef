"""GPT-Neo (Black et al. 2021): GPT-2 whose every second layer sees a window, unscaled scores.

Reference: transformers `modeling_gpt_neo.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.gpt_neo import GPTNeoConfig
from tfcli.models.context import Context
from tfcli.models.layers.attention import RotaryAttention
from tfcli.models.text.gpt2 import GPT2Model


class GPTNeoSelfAttention(RotaryAttention):
    """Attention without rotary, with `out_proj`."""

    out = "out_proj"


class GPTNeoAttention(nn.Module):
    """Checkpoints have a level of names more than GPT-2's."""

    def __init__(self, attention: RotaryAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return self.attention(x, context)

    @property
    def reads(self) -> tuple[str, ...]:
        """See `folding`."""
        inner = self.attention.reads
        return tuple(f"attention.{name}" for name in inner)


class GPTNeoModel(GPT2Model):
    """GPT-2's body with GPT-Neo's attention."""

    config: GPTNeoConfig

    rules = ()
    ignorable: ClassVar[dict[str, str]] = {
        r"\.attn\.attention\.(masked_)?bias$": "a causal mask, which is computed here"
    }
    walk = CalibrationWalk(
        blocks="h",
        groups=(
            ("attn.attention.q_proj", "attn.attention.k_proj", "attn.attention.v_proj"),
            ("attn.attention.out_proj",),
            ("mlp.c_fc",),
            ("mlp.c_proj",),
        ),
    )

    def make_attention(self, layer: int) -> nn.Module:
        """See `GPT2Model.make_attention`."""
        config = self.config
        heads = config.num_attention_heads
        return GPTNeoAttention(
            GPTNeoSelfAttention(
                config.hidden_size,
                heads,
                heads,
                config.head_dim,
                layer=layer,
                rotary=None,
                backend=self.attention,
                out_bias=True,
                dropout=config.attn_pdrop,
                scale=1.0,
                window=config.window(layer),
            )
        )

    def init_std(self, name: str) -> float:
        """See `Backbone.init_std`."""
        return self.config.initializer_range
