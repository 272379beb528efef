"""MiniMax-Text-01 (MiniMax 2025): lightning attention in most layers, Mixtral's mixtures in all.

Reference: transformers `modeling_minimax.py`; for the names of modules see `sparse`.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.minimax import MiniMaxConfig
from tfcli.models.configs.windows import FULL
from tfcli.models.context import Context
from tfcli.models.layers.lightning import LightningAttention
from tfcli.models.text.mixtral import MixtralModel

Factors = tuple[float, float]


class MiniMaxBlock(nn.Module):
    """The residual is what a norm gives: y = a norm(x) + b attention(norm(x)), and so the mixture.

    Args:
        attention: [b, s, d] and the context -> [b, s, d]
        mixture: the same.
        input_norm: before attention.
        post_attention_norm: before the mixture.
        attention_factors: on the residual, and on what attention adds.
        mixture_factors: the same of the mixture.
    """

    def __init__(
        self,
        attention: nn.Module,
        mixture: nn.Module,
        input_norm: nn.Module,
        post_attention_norm: nn.Module,
        *,
        attention_factors: Factors,
        mixture_factors: Factors,
    ) -> None:
        super().__init__()
        self.self_attn = attention
        self.block_sparse_moe = mixture
        self.input_layernorm = input_norm
        self.post_attention_layernorm = post_attention_norm
        self.attention_factors, self.mixture_factors = attention_factors, mixture_factors

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        kept, added = self.attention_factors
        x = self.input_layernorm(x)
        x = self.post_attention_layernorm(x * kept + self.self_attn(x, context) * added)
        kept, added = self.mixture_factors
        return x * kept + self.block_sparse_moe(x, context) * added


class MiniMaxModel(MixtralModel):
    """Mixtral's body with MiniMax's block, and lightning attention where the config says so."""

    config: MiniMaxConfig

    packs = False  # the state runs through the whole row
    ignorable: ClassVar[dict[str, str]] = {
        **MixtralModel.ignorable,
        r"\.self_attn\.(slope_rate|(query|key|diagonal)_decay)$": "computed from the config",
    }
    walk = CalibrationWalk(
        blocks="layers",
        groups=(
            ("self_attn.qkv_proj", "self_attn.output_gate"),
            ("self_attn.out_proj",),
            *MixtralModel.walk.groups,
        ),
        varies=True,
    )

    def make_lightning(self, layer: int) -> nn.Module:
        """What takes the place of attention; upper layers remember for longer."""
        config = self.config
        heads = config.num_attention_heads
        height = 1 - layer / (config.num_hidden_layers - 1 + 1e-5) + 1e-5
        return LightningAttention(
            config.hidden_size,
            config.head_dim,
            [2 ** (-8 * (head + 1) / heads) * height for head in range(heads)],
            act=config.hidden_act,
            chunk=config.block_size,
            layer=layer,
        )

    def make_block(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_block`."""
        config = self.config
        full = config.kind(layer) == FULL
        factors = (
            (config.full_attn_alpha_factor, config.full_attn_beta_factor)
            if full
            else (config.linear_attn_alpha_factor, config.linear_attn_beta_factor)
        )
        return MiniMaxBlock(
            self.make_attention(layer) if full else self.make_lightning(layer),
            self.make_mixture(),
            self.make_norm(),
            self.make_norm(),
            attention_factors=factors,
            mixture_factors=(config.mlp_alpha_factor, config.mlp_beta_factor),
        )
