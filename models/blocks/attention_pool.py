"""Attention of one learned query to all states, which makes one vector of an image (SigLIP)."""

from __future__ import annotations

import torch
from torch import nn

from tfcli.models.blocks.clip import CLIPMLP
from tfcli.models.layers.attention import Attend, split_heads
from tfcli.models.layers.linear import linear, product
from tfcli.models.layers.masks import cross_mask
from tfcli.models.layers.norms import layer_norm


class PackedAttention(nn.Module):
    """`nn.MultiheadAttention` of few queries to many states: its parameters are packed into one.

    Args:
        size: d.
        heads: attention heads.
        backend: name of an attention backend.
    """

    def __init__(self, size: int, heads: int, backend: str) -> None:
        super().__init__()
        self.size, self.head_dim = size, size // heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * size, size))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * size))
        self.out_proj = linear(size, size, bias=True)
        self.attend = Attend(backend, self.head_dim**-0.5)

    def forward(
        self, query: torch.Tensor, states: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Mix states.

        Args:
            query (Tensor): [b, q, d]
            states (Tensor): [b, k, d]
            mask (Tensor): [b, k], 0 for a state that no query may see, or None.

        Returns:
            [b, q, d]
        """
        weights, biases = self.in_proj_weight.split(self.size), self.in_proj_bias.split(self.size)
        sources = (query, states, states)
        projected = [
            split_heads(product(x, weight, bias), self.head_dim)
            for x, weight, bias in zip(sources, weights, biases, strict=True)
        ]
        query, key, value = projected
        return self.out_proj(self.attend(query, key, value, cross_mask(mask, query.shape[2])))


class AttentionPool(nn.Module):
    """A learned query looks at all states; then x + mlp(norm(x)).

    Args:
        size: d.
        heads: attention heads.
        inner: width of the mlp.
        act: name of its activation.
        eps: of the norm.
        backend: name of an attention backend.
    """

    def __init__(
        self, size: int, heads: int, inner: int, *, act: str, eps: float, backend: str
    ) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.empty(1, 1, size))
        self.attention = PackedAttention(size, heads, backend)
        self.layernorm = layer_norm(size, eps)
        self.mlp = CLIPMLP(size, inner, act)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """x (Tensor): [b, s, d], mask (Tensor): [b, s] of 0/1 or None -> [b, d]"""
        x = self.attention(self.probe.expand(len(x), -1, -1), x, mask)
        return (x + self.mlp(self.layernorm(x)))[:, 0]
