"""Attention to the neighbourhood and to some chosen tokens (Beltagy et al. 2020, Longformer)."""

from __future__ import annotations

import torch
from torch import nn

from tfcli.models import processor
from tfcli.models.context import Context
from tfcli.models.layers.attention import Attend, split_heads
from tfcli.models.layers.linear import linear
from tfcli.models.layers.masks import AttentionMask

INPUT = "global_attention_mask"
"""The input that chooses tokens: [b, s], 1 for one that sees all and that all see."""


class LocalGlobalAttention(nn.Module):
    """Multi-head attention without the output projection. A chosen token has linears of its own.

    Args:
        hidden_size: d.
        heads: attention heads.
        radius: how far other tokens see on each side.
        dropout: on the attention weights.
        backend: name of an attention backend.
    """

    def __init__(
        self, hidden_size: int, heads: int, radius: int, dropout: float, backend: str
    ) -> None:
        super().__init__()
        self.head_dim = hidden_size // heads
        self.radius = radius
        for name in ("query", "key", "value"):
            self.add_module(name, linear(hidden_size, hidden_size, bias=True))
            self.add_module(f"{name}_global", linear(hidden_size, hidden_size, bias=True))
        self.attend = Attend(backend, self.head_dim**-0.5, dropout)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        heads = (self.heads(name, x) for name in ("query", "key", "value"))
        key = (near_or_chosen, self.radius)
        mask = context.once(key, lambda: near_or_chosen(context, self.radius))
        near = self.attend(*heads, mask, context.attentions)
        chosen = context.inputs.get(INPUT)
        return near if chosen is None else self.with_chosen(x, near, chosen.bool(), context)

    def heads(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """What a linear makes of x: [b, s, d] -> [b, heads, s, head_dim]"""
        return split_heads(self.get_submodule(name)(x), self.head_dim)

    def with_chosen(
        self, x: torch.Tensor, near: torch.Tensor, chosen: torch.Tensor, context: Context
    ) -> torch.Tensor:
        """Put in place what the chosen tokens see.

        Args:
            x (Tensor): [b, s, d]
            near (Tensor): [b, s, d], what tokens see otherwise.
            chosen (Tensor): bool [b, s]
            context: of the forward pass.

        Returns:
            [b, s, d]
        """
        # Where they cannot be counted without waiting, it is computed as if all were chosen.
        most = int(chosen.sum(1).max()) if processor.can_read(chosen) else x.shape[1]
        if most == 0:
            return near
        places = chosen.long().argsort(dim=1, descending=True, stable=True)[:, :most]
        rows = places[..., None].expand(-1, -1, x.shape[-1])
        visible = context.full().visible(x.shape[1], x.shape[1], x.device)
        if visible is not None:
            index = places[:, None, :, None].expand(-1, -1, -1, x.shape[1])
            visible = visible.gather(2, index)
        weights: list[torch.Tensor] = []
        seen = self.attend(
            self.heads("query_global", x.gather(1, rows)),
            self.heads("key_global", x),
            self.heads("value_global", x),
            AttentionMask(visible),
            None if context.attentions is None else weights,
        )
        # Where a row has fewer than most, others are among the places.
        real = chosen.gather(1, places)
        if context.attentions is not None:
            own = context.attentions[-1]
            index = places[:, None, :, None].expand(-1, own.shape[1], -1, own.shape[3])
            new = torch.where(real[:, None, :, None], weights[0], own.gather(2, index))
            context.attentions[-1] = own.scatter(2, index, new)
        return near.scatter(1, rows, torch.where(real[..., None], seen, near.gather(1, rows)))


def near_or_chosen(context: Context, radius: int) -> AttentionMask:
    """The mask of tokens that are not chosen."""
    near, chosen = context.full(radius=radius), context.inputs.get(INPUT)
    if chosen is None:
        return near
    length, found = context.sight.queries, chosen.bool()[:, None, None, :]
    close, seen = (mask.visible(length, length, chosen.device) for mask in (near, context.full()))
    assert close is not None  # a radius hides something
    return AttentionMask(close | (found if seen is None else found & seen))
