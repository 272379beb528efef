"""StableLM (Bellagamba et al. 2024): Llama with layer norms and positions in a part of each head.

Reference: transformers `modeling_stablelm.py`; names of modules and parameters are the same, but
for the norms of queries and keys, which checkpoints call `q_layernorm` and `k_layernorm`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from tfcli.models.blocks.parallel import ParallelBlock
from tfcli.models.configs.stablelm import StableLmConfig
from tfcli.models.layers.mlp import GatedMLP
from tfcli.models.layers.norms import layer_norm
from tfcli.models.rules import Rename
from tfcli.models.text.llama import LlamaModel


class HeadNorms(nn.Module):
    """A layer norm of its own, without a bias, for each head.

    Args:
        heads: how many.
        head_dim: width of a head.
        eps: added to the variance.
    """

    def __init__(self, heads: int, head_dim: int, eps: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(layer_norm(head_dim, eps, bias=False) for _ in range(heads))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, heads, s, head_dim] -> the same"""
        weights = torch.stack([norm.get_parameter("weight") for norm in self.norms])
        return F.layer_norm(x, x.shape[-1:], eps=self.eps) * weights[:, None]


class StableLmModel(LlamaModel):
    """Llama's body with StableLM's norms and blocks."""

    config: StableLmConfig

    rules = (Rename(r"\.self_attn\.([qk])_norm\.", r".self_attn.\1_layernorm."),)

    def make_norm(self) -> nn.Module:
        """See `LlamaModel.make_norm`."""
        return layer_norm(self.config.hidden_size, self.config.layer_norm_eps)

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        config = self.config

        def norms(heads: int) -> nn.Module | None:
            if not config.qk_layernorm:
                return None
            return HeadNorms(heads, config.head_dim, config.layer_norm_eps)

        return {
            "bias": config.use_qkv_bias,
            "out_bias": False,
            "q_norm": norms(config.num_attention_heads),
            "k_norm": norms(config.num_key_value_heads),
        }

    def make_mlp(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_mlp`."""
        config = self.config
        return GatedMLP(
            config.hidden_size,
            config.intermediate_size,
            config.hidden_act,
            bias=False,
            dropout=config.hidden_dropout,
        )

    def make_block(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_block`."""
        if not self.config.use_parallel_residual:
            return super().make_block(layer)
        return ParallelBlock(self.make_attention(layer), self.make_mlp(layer), self.make_norm())
