"""Self-attention: split into heads, rotate, remember, attend, project."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from tfcli.models.caches.kinds import Dynamic
from tfcli.models.caches.layers import KeyValueLayer
from tfcli.models.caches.stores import Store
from tfcli.models.context import Context
from tfcli.models.errors import ModelError
from tfcli.models.folding import Fold, of_values, span
from tfcli.models.layers.backends import (
    Backend,
    Scores,
    attention_weights,
    get_backend,
    repeat_heads,
)
from tfcli.models.layers.linear import linear
from tfcli.models.layers.masks import AttentionMask
from tfcli.models.layers.rotary import Rotary

if TYPE_CHECKING:
    from tfcli.models.layers.alibi import Alibi


def split_heads(x: torch.Tensor, head_dim: int) -> torch.Tensor:
    """x (Tensor): [b, s, heads * head_dim] -> [b, heads, s, head_dim]"""
    return x.view(*x.shape[:2], -1, head_dim).transpose(1, 2)


def merge_heads(x: torch.Tensor) -> torch.Tensor:
    """x (Tensor): [b, heads, s, head_dim] -> [b, s, heads * head_dim]"""
    return x.transpose(1, 2).flatten(2)


class Attend(nn.Module):
    """The part of attention that has no parameters.

    Args:
        backend: name of an attention backend.
        scale: factor on the scores.
        dropout: on the attention weights, in training.
        softcap: see `Scores`.
    """

    def __init__(
        self, backend: str, scale: float, dropout: float = 0.0, *, softcap: float | None = None
    ) -> None:
        super().__init__()
        self.backend: Backend = get_backend(backend)
        self.scale = scale
        self.dropout = dropout
        self.softcap = softcap

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: AttentionMask,
        attentions: list[torch.Tensor] | None = None,
        sinks: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Mix values by how well their keys match the queries.

        Args:
            query (Tensor): [b, heads, q, head_dim]
            key (Tensor): [b, kv_heads, k, head_dim]
            value (Tensor): [b, kv_heads, k, value_dim]
            mask: which keys each query sees.
            attentions: where to append the weights, [b, heads, q, k]. Fused backends never hold
                them, so asking for them computes this layer step by step.
            sinks (Tensor): [heads]; see `Scores`.

        Returns:
            [b, q, heads * value_dim]
        """
        scores = Scores(self.scale, self.dropout if self.training else 0.0, self.softcap, sinks)
        if attentions is None:
            return merge_heads(self.backend(query, key, value, mask, scores))
        weights = attention_weights(query, key, mask, scores)
        weights = nn.functional.dropout(weights, scores.dropout, scores.dropout > 0)
        attentions.append(weights)
        return merge_heads(weights @ repeat_heads(value, query.shape[1]))


class RotaryAttention(KeyValueLayer):
    """Grouped-query attention with rotary positions (Ainslie et al. 2023).

    Args:
        hidden_size: d.
        heads: query heads.
        kv_heads: key and value heads, a divisor of `heads`.
        head_dim: width of a head.
        layer: index of the layer in the cache.
        rotary: turns queries and keys; None leaves them, in layers without positions.
        backend: name of an attention backend.
        bias: whether the projections of queries, keys and values have one.
        out_bias: whether the output projection has one; None: as the others.
        dropout: on the attention weights.
        scale: factor on the scores; None: head_dim ** -0.5.
        softcap: see `Scores`.
        window: keys that a query sees; None: all before it.
        q_norm: applied to each query head, [..., head_dim], before it is turned.
        k_norm: the same for keys.
        norm_whole: `q_norm` and `k_norm` are applied to all heads together, [b, s, heads *
            head_dim], as in OLMo 2.
        norm_turned: they are applied to heads that have been turned.
        sub_norm: applied to all heads together before the output projection.
        clip: the largest absolute value of queries, keys and values, before they are turned.
        alibi: positions as a bias on the scores.
        chunk: a query sees only keys of its own stretch of so many positions.
        bidirectional: queries see later keys too, `window - 1` to each side. No cache fits that.
        sinks: each head has a learned score for no key; see `Scores`.

    Class attributes:
        out: what checkpoints call the output projection.
    """

    out: ClassVar[str] = "o_proj"

    def __init__(
        self,
        hidden_size: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        *,
        layer: int,
        rotary: Rotary | None,
        backend: str,
        bias: bool = False,
        out_bias: bool | None = None,
        dropout: float = 0.0,
        scale: float | None = None,
        softcap: float | None = None,
        window: int | None = None,
        q_norm: nn.Module | None = None,
        k_norm: nn.Module | None = None,
        norm_whole: bool = False,
        norm_turned: bool = False,
        sub_norm: nn.Module | None = None,
        clip: float | None = None,
        alibi: Alibi | None = None,
        chunk: int | None = None,
        bidirectional: bool = False,
        sinks: bool = False,
    ) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.layer = layer
        self.rotary = rotary
        self.window = window
        self.add_projections(hidden_size, heads * head_dim, kv_heads * head_dim, bias)
        out_bias = bias if out_bias is None else out_bias
        self.add_module(self.out, linear(heads * head_dim, hidden_size, out_bias))
        self.q_norm = q_norm
        self.k_norm = k_norm
        self.norm_whole, self.norm_turned = norm_whole, norm_turned
        self.attn_sub_norm = sub_norm
        self.clip, self.alibi, self.chunk = clip, alibi, chunk
        self.bidirectional = bidirectional
        self.sinks = nn.Parameter(torch.zeros(heads)) if sinks else None
        self.attend = Attend(
            backend, head_dim**-0.5 if scale is None else scale, dropout, softcap=softcap
        )

    @property
    def divides(self) -> bool:
        """Whether each head is computed by itself once it is projected, for `tensor_parallel`."""
        norms = [norm for norm in (self.q_norm, self.k_norm) if norm is not None]
        each = all(p.shape == (self.head_dim,) for norm in norms for p in norm.parameters())
        mixed = (self.attn_sub_norm, self.alibi, self.sinks)  # of all heads
        return each and not self.norm_whole and all(part is None for part in mixed)

    @property
    def reads(self) -> tuple[str, ...]:
        """See `folding`."""
        return ("q_proj", "k_proj", "v_proj")

    def value_rows(self) -> tuple[str, torch.Tensor | None]:
        """The linear that makes values, and which of its outputs these are; None: all."""
        return "v_proj", None

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        if self.attn_sub_norm is not None:
            yield Fold("attn_sub_norm", (self.out,))
            return
        name, rows = self.value_rows()
        value, out = getattr(self, name, None), getattr(self, self.out, None)
        if self.clip is None and isinstance(value, nn.Linear) and isinstance(out, nn.Linear):
            shared = (value.out_features if rows is None else len(rows)) // self.head_dim
            heads = out.in_features // self.head_dim
            yield of_values(name, self.out, shared, heads, self.head_dim, rows)

    def add_projections(self, hidden_size: int, width: int, kv_width: int, bias: bool) -> None:
        """Make what `project` uses."""
        self.q_proj = linear(hidden_size, width, bias)
        self.k_proj = linear(hidden_size, kv_width, bias)
        self.v_proj = linear(hidden_size, kv_width, bias)

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """x (Tensor): [b, s, d] -> queries, keys and values, each [b, s, heads * head_dim]."""
        return self.q_proj(x), self.k_proj(x), self.v_proj(x)

    def heads(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """x (Tensor): [b, s, d] -> queries, keys and values, each [b, heads, s, head_dim]"""
        return self.split(*self.project(x))

    def split(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values by heads and after their norms; from `project`, to `heads`."""
        if self.norm_whole:
            query, key = self.normed(query, key)
        query, key, value = (split_heads(part, self.head_dim) for part in (query, key, value))
        if not (self.norm_whole or self.norm_turned):
            query, key = self.normed(query, key)
        return query, key, value

    def normed(self, query: torch.Tensor, key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Queries and keys after their norms, where there are any."""
        query = query if self.q_norm is None else self.q_norm(query)
        return query, key if self.k_norm is None else self.k_norm(key)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Attend from the new positions to all positions. x (Tensor): [b, s, d] -> [b, s, d]"""
        return getattr(self, self.out)(self.attended(*self.heads(x), context))

    def attended(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, context: Context
    ) -> torch.Tensor:
        """Turn, remember and attend; what `heads` gives -> [b, s, heads * head_dim]"""
        if self.clip is not None:
            parts = (query, key, value)
            query, key, value = (part.clamp(-self.clip, self.clip) for part in parts)
        query, key = self.turned(query, key, context)
        mask = self.mask(context)
        key, value = context.remember(self.layer, key, value)
        attended = self.attend(query, key, value, mask, context.attentions, self.sinks)
        return attended if self.attn_sub_norm is None else self.attn_sub_norm(attended)

    def turned(
        self, query: torch.Tensor, key: torch.Tensor, context: Context
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Queries and keys at their positions, [b, heads, s, head_dim] each."""
        if self.rotary is not None:
            rotation = context.rotation(self.rotary, query.dtype)
            query, key = self.rotary.turn(query, rotation), self.rotary.turn(key, rotation)
        return self.normed(query, key) if self.norm_turned else (query, key)

    def make_store(self, kind: Dynamic) -> Store | None:
        """Keys and values.

        Raises:
            ModelError: queries see later keys, which a cache cannot hold yet.
        """
        if self.bidirectional:
            raise _no_use_for_a_cache()
        return super().make_store(kind)

    def mask(self, context: Context) -> AttentionMask:
        """Which keys each query sees.

        Raises:
            ModelError: a cache, where queries see later keys.
        """
        if self.alibi is not None:
            return self.alibi.mask(context, self.layer)
        if not self.bidirectional:
            return context.causal(self.layer, window=self.window, chunk=self.chunk)
        if context.cache is not None:
            raise _no_use_for_a_cache()
        return context.full(radius=None if self.window is None else self.window - 1)


def _no_use_for_a_cache() -> ModelError:
    return ModelError(
        "attention in both directions has no use for a cache",
        fix="leave out cache; such a model makes vectors, not text",
    )


class FusedRotaryAttention(RotaryAttention):
    """The same with one linear: the rows of queries, then keys, then values.

    Class attributes:
        fused: what checkpoints call the linear.
    """

    fused: ClassVar[str] = "qkv_proj"

    def add_projections(self, hidden_size: int, width: int, kv_width: int, bias: bool) -> None:
        """See `RotaryAttention.add_projections`."""
        self.widths = (width, kv_width, kv_width)
        self.add_module(self.fused, linear(hidden_size, sum(self.widths), bias))

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """See `RotaryAttention.project`."""
        return getattr(self, self.fused)(x).split(self.widths, dim=-1)

    @property
    def reads(self) -> tuple[str, ...]:
        """See `folding`."""
        return (self.fused,)

    def value_rows(self) -> tuple[str, torch.Tensor | None]:
        """See `RotaryAttention.value_rows`."""
        return self.fused, span(sum(self.widths[:2]), sum(self.widths))


class GatedRotaryAttention(RotaryAttention):
    """The same with a gate on what each head gives, before the output projection.

    `q_proj` has the rows of a head's query, then those of its gate, then the next head's.
    """

    def add_projections(self, hidden_size: int, width: int, kv_width: int, bias: bool) -> None:
        """See `RotaryAttention.add_projections`."""
        super().add_projections(hidden_size, width, kv_width, bias)
        self.q_proj = linear(hidden_size, 2 * width, bias)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        both, key, value = self.project(x)
        query, gate = both.unflatten(-1, (-1, 2, self.head_dim)).unbind(-2)
        mixed = self.attended(*self.split(query.flatten(-2), key, value), context)
        return getattr(self, self.out)(mixed * gate.flatten(-2).sigmoid())
