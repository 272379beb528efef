"""Cohere's Command R (2024): attention and mlp side by side, interleaved rotary positions.

Reference: transformers `modeling_cohere.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from tfcli.models.blocks.parallel import ParallelBlock
from tfcli.models.configs.cohere import CommandConfig
from tfcli.models.layers.norms import layer_norm
from tfcli.models.text.llama import LlamaModel


class HeadsNorm(nn.Module):
    """Layer norm of each head, without a bias; the heads' weights are one tensor.

    Args:
        heads: how many.
        head_dim: width of a head.
        eps: added to the variance.
    """

    def __init__(self, heads: int, head_dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(heads, head_dim))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, heads, s, head_dim] -> the same, computed in float32"""
        normed = F.layer_norm(x.float(), x.shape[-1:], eps=self.eps)
        return (normed * self.weight[:, None].float()).to(x.dtype)


class CohereModel(LlamaModel):
    """Llama's body with Cohere's norms, positions and blocks."""

    config: CommandConfig
    interleaved = True

    def make_norm(self) -> nn.Module:
        """See `LlamaModel.make_norm`."""
        return layer_norm(self.config.hidden_size, self.config.layer_norm_eps, bias=False)

    def attention_options(self, layer: int) -> dict[str, Any]:
        """See `LlamaModel.attention_options`."""
        config = self.config

        def norm(heads: int) -> nn.Module | None:
            if not config.use_qk_norm:
                return None
            return HeadsNorm(heads, config.head_dim, config.layer_norm_eps)

        return {
            "bias": config.attention_bias,
            "q_norm": norm(config.num_attention_heads),
            "k_norm": norm(config.num_key_value_heads),
        }

    def make_block(self, layer: int) -> nn.Module:
        """See `LlamaModel.make_block`."""
        return ParallelBlock(
            self.make_attention(layer),
            self.make_mlp(layer),
            self.make_norm(),
        )

    def adjust_logits(self, logits: torch.Tensor) -> torch.Tensor:
        """See `Backbone.adjust_logits`."""
        return logits * self.config.logit_scale

    def initial(self, name: str, shape: torch.Size) -> torch.Tensor | None:
        """See `Backbone.initial`: norms of heads have two dimensions."""
        return torch.ones(shape) if name.endswith(("q_norm.weight", "k_norm.weight")) else None
