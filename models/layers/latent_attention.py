"""Multi-head latent attention: keys and values of all heads come from one short state."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from tfcli.models.caches.kinds import Dynamic
from tfcli.models.caches.layers import KeyValueLayer
from tfcli.models.caches.stores import Store
from tfcli.models.context import Context
from tfcli.models.folding import Fold, span
from tfcli.models.layers.attention import Attend, split_heads
from tfcli.models.layers.linear import Linear, linear
from tfcli.models.layers.masks import AttentionMask
from tfcli.models.layers.norms import RMSNorm
from tfcli.models.layers.rotary import Rotary

_EPS = 1e-6  # of the norms inside, whatever the config says of the others


class LatentAttention(KeyValueLayer):
    """Attention over latent states (DeepSeek-AI 2024, "DeepSeek-V2", section 2.1).

    A head of queries and keys has two parts: one without a position, made from a latent state, and
    one that is turned, which all heads of keys share. A cache keeps the latent state and the turned
    part only, side by side: for DeepSeek-V3 576 numbers a position in place of 40,960.

    Args:
        hidden_size: d.
        heads: attention heads.
        query_rank: width of the latent state of queries; None: queries are made from x.
        rank: width of the latent state of keys and values.
        plain_dim: the part of a head that has no position.
        turned_dim: the part that is turned.
        value_dim: width of a head of values.
        layer: index of the layer in the cache.
        rotary: turns `turned_dim`.
        backend: name of an attention backend.
        scale: factor on the scores.
        bias: whether the projections to latent states and the output have one.
        dropout: on the attention weights.
    """

    rotary: Rotary

    def __init__(
        self,
        hidden_size: int,
        heads: int,
        *,
        query_rank: int | None,
        rank: int,
        plain_dim: int,
        turned_dim: int,
        value_dim: int,
        layer: int,
        rotary: Rotary,
        backend: str,
        scale: float,
        bias: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.heads, self.rank, self.value_dim = heads, rank, value_dim
        self.plain_dim, self.turned_dim = plain_dim, turned_dim
        self.layer, self.rotary = layer, rotary
        width = plain_dim + turned_dim
        self.query_rank = query_rank
        if query_rank is None:
            self.q_proj = linear(hidden_size, heads * width, bias=False)
        else:
            self.q_a_proj = linear(hidden_size, query_rank, bias)
            self.q_a_layernorm = RMSNorm(query_rank, _EPS)
            self.q_b_proj = linear(query_rank, heads * width, bias=False)
        self.kv_a_proj_with_mqa = linear(hidden_size, rank + turned_dim, bias)
        self.kv_a_layernorm = RMSNorm(rank, _EPS)
        self.kv_b_proj = linear(rank, heads * (plain_dim + value_dim), bias=False)
        self.o_proj = linear(heads * value_dim, hidden_size, bias)
        self.attend = Attend(backend, scale, dropout)

    @property
    def reads(self) -> tuple[str, ...]:
        """See `folding`."""
        return ("q_proj" if self.query_rank is None else "q_a_proj", "kv_a_proj_with_mqa")

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        if self.query_rank is not None:
            yield Fold("q_a_layernorm", ("q_b_proj",))
        yield Fold("kv_a_layernorm", ("kv_b_proj",))
        rows = span(0, self.heads * (self.plain_dim + self.value_dim)).view(self.heads, -1)
        yield Fold("kv_b_proj", ("o_proj",), rows[:, self.plain_dim :].flatten())

    def make_store(self, kind: Dynamic) -> Store | None:
        return kind.keys(rotary=self.rotary, plain=self.rank)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Attend from the new positions to all positions. x (Tensor): [b, s, d] -> [b, s, d]"""
        query = self.q_proj(x) if self.query_rank is None else self.q_a_proj(x)
        latent, turned = self.kv_a_proj_with_mqa(x).split((self.rank, self.turned_dim), dim=-1)
        if self.query_rank is not None:
            query = self.q_b_proj(self.q_a_layernorm(query))
        query = split_heads(query, self.plain_dim + self.turned_dim)
        plain, moved = query.split((self.plain_dim, self.turned_dim), dim=-1)
        rotation = context.rotation(self.rotary, query.dtype)
        moved = self.rotary.turn(moved, rotation)
        turned = self.rotary.turn(turned[:, None], rotation)
        mask = context.causal(self.layer)
        latent = self.kv_a_layernorm(latent)[:, None]
        (joined,) = context.remember(self.layer, torch.cat((latent, turned), dim=-1))
        run = self.absorbed if self.absorbs(x.shape[1], context) else self.expanded
        return self.o_proj(run(plain, moved, joined, mask, context.attentions))

    def absorbs(self, queries: int, context: Context) -> bool:
        """Whether to look at latent states as they are: for a few queries on a cache.

        Making keys and values takes `rank * made` products a cached position and head; without
        them the scores and the sums take `2 * rank - made` more for each query.
        """
        made = self.plain_dim + self.value_dim
        # A layer that replaces the linear, such as a quantized one, has no weight to fold in.
        foldable = type(self.kv_b_proj) is Linear and not torch.is_grad_enabled()
        cached = context.cache is not None
        return cached and foldable and queries * (2 * self.rank - made) < self.rank * made

    def expanded(
        self,
        plain: torch.Tensor,
        moved: torch.Tensor,
        joined: torch.Tensor,
        mask: AttentionMask,
        attentions: list[torch.Tensor] | None,
    ) -> torch.Tensor:
        """Make keys and values of every head, then attend.

        Args:
            plain (Tensor): [b, heads, q, plain_dim], queries.
            moved (Tensor): [b, heads, q, turned_dim], queries.
            joined (Tensor): [b, 1, k, rank + turned_dim], latent states and the turned parts.
            mask: which keys each query sees.
            attentions: see `Attend.forward`.

        Returns:
            [b, q, heads * value_dim]
        """
        latent, turned = joined.split((self.rank, self.turned_dim), dim=-1)
        made = split_heads(self.kv_b_proj(latent[:, 0]), self.plain_dim + self.value_dim)
        key, value = made.split((self.plain_dim, self.value_dim), dim=-1)
        key = torch.cat((key, turned.expand(-1, self.heads, -1, -1)), dim=-1)
        return self.attend(torch.cat((plain, moved), dim=-1), key, value, mask, attentions)

    def absorbed(
        self,
        plain: torch.Tensor,
        moved: torch.Tensor,
        joined: torch.Tensor,
        mask: AttentionMask,
        attentions: list[torch.Tensor] | None,
    ) -> torch.Tensor:
        """Arguments and result as in `expanded`, with the weights that make keys and values
        applied to the queries and to the mix of latent states instead."""
        weight = self.kv_b_proj.get_parameter("weight").unflatten(0, (self.heads, -1))
        to_key, to_value = weight.split((self.plain_dim, self.value_dim), dim=1)
        query = torch.cat((plain @ to_key, moved), dim=-1)
        # Values are the latent states. The turned parts behind them are mixed too and left out
        # again: fused kernels want values as wide as keys.
        mixed = split_heads(self.attend(query, joined, joined, mask, attentions), joined.shape[-1])
        mixed = mixed[..., : self.rank]
        return (mixed @ to_value.transpose(1, 2)).transpose(1, 2).flatten(2)
