"""Which key each query may see. Masks are made once a forward pass and shared by the layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from tfcli.models.errors import ModelError


@dataclass(eq=False)
class AttentionMask:
    """What attention backends need to know.

    Args:
        dense (Tensor): bool [b or 1, 1, q, k], True where a query may look; None when nothing but
            `causal` limits it, so that no mask need be in memory.
        causal: with `dense` None, query i sees keys 0..i.
        bias (Tensor): [b or 1, heads, q, k], added to the scaled scores (ALiBi, relative
            positions); None adds nothing.
    """

    dense: torch.Tensor | None = None
    causal: bool = False
    bias: torch.Tensor | None = None
    _additive: torch.Tensor | None = field(default=None, repr=False)

    def with_bias(self, bias: torch.Tensor) -> AttentionMask:
        """The same mask with scores moved by `bias`."""
        return AttentionMask(self.dense, self.causal, bias)

    def visible(self, queries: int, keys: int, device: torch.device) -> torch.Tensor | None:
        """The mask written out, bool [b or 1, 1, q, k]; None where every query sees every key."""
        if self.causal:
            return torch.ones(queries, keys, dtype=torch.bool, device=device).tril()[None, None]
        return self.dense

    def additive(self) -> torch.Tensor | None:
        """Bias and mask as one tensor: the bias, with -inf where a query may not look."""
        # Kept by hand: cached_property has a lock, which torch.compile cannot trace.
        if self._additive is None and self.bias is not None:
            dense = self.visible(self.bias.shape[-2], self.bias.shape[-1], self.bias.device)
            hidden = None if dense is None else ~dense
            bias = self.bias
            self._additive = bias if hidden is None else bias.masked_fill(hidden, float("-inf"))
        return self._additive

    @cached_property
    def flex_block_mask(self) -> Any:
        """The same mask for flex_attention; None when every query sees every key."""
        from torch.nn.attention.flex_attention import create_block_mask

        dense = self.dense
        if dense is None:
            return None
        batch, _, queries, keys = dense.shape

        def visible(b: torch.Tensor, h: torch.Tensor, q: torch.Tensor, k: torch.Tensor) -> Any:
            return dense[b if batch > 1 else 0, 0, q, k]

        return create_block_mask(visible, batch, None, queries, keys, device=dense.device)


class Sight:
    """What limits the sight of the queries of one forward pass: order, padding, segments.

    Layers that ask alike get the same mask.

    Args:
        queries: new positions.
        past: earlier positions, which a cache holds.
        device: of the input.
        padding (Tensor): [b, past + queries] of 0/1, or None where nothing is padded.
        segments (Tensor): [b, queries], the number of the text that each token belongs to, for
            several texts packed into one row; None where a row is one text.
    """

    def __init__(
        self,
        queries: int,
        past: int,
        device: torch.device,
        padding: torch.Tensor | None = None,
        segments: torch.Tensor | None = None,
    ) -> None:
        self.queries = queries
        self.past = past
        self.device = device
        self.padding = padding
        self.segments = segments
        self._made: dict[Any, AttentionMask] = {}

    def causal(
        self, kept: int = 0, *, window: int | None = None, chunk: int | None = None
    ) -> AttentionMask:
        """A decoder's mask: a query sees itself and what came before.

        Args:
            kept: earlier positions that the layer's cache still holds; the last ones of `past`.
            window: keys that a query sees at most, its own among them.
            chunk: a query sees only keys of its own stretch of so many positions of its text.
        """
        return self._once(("causal", kept, window, chunk), self._causal, kept, window, chunk)

    def full(self, *, radius: int | None = None) -> AttentionMask:
        """An encoder's mask: everything but padding, and with a radius nothing farther away."""
        return self._once(("full", radius), self._full, radius)

    def _once(self, key: Any, make: Callable[..., AttentionMask], *args: Any) -> AttentionMask:
        if key not in self._made:
            self._made[key] = make(*args)
        return self._made[key]

    def _causal(self, kept: int, window: int | None, chunk: int | None) -> AttentionMask:
        keys = kept + self.queries
        if not torch.compiler.is_exporting():  # an exported graph takes inputs of any length
            if window is not None and keys <= window:
                window = None
            if chunk is not None and self.past + self.queries <= chunk:
                chunk = None
        plain = self.padding is None and self.segments is None and window is chunk is None
        if plain and kept == 0:
            return AttentionMask(causal=self.queries > 1)
        if plain and self.queries == 1:
            return AttentionMask()
        query_at = torch.arange(self.past, self.past + self.queries, device=self.device)[:, None]
        key_at = torch.arange(self.past - kept, self.past + self.queries, device=self.device)
        dense = query_at >= key_at
        if window is not None:
            dense = dense & (query_at - key_at < window)
        dense = dense[None, None]
        if chunk is not None:
            # Stretches begin with the text, wherever that is in a padded or packed row.
            at = position_ids_of(
                self.past + self.queries, 0, self.device, self.padding, self.segments
            )
            of_keys, of_queries = at[:, None, None, -keys:], at[:, None, -self.queries :, None]
            dense = dense & (of_queries // chunk == of_keys // chunk)
        return AttentionMask(self._limited(dense, keys))

    def _full(self, radius: int | None) -> AttentionMask:
        if self.padding is None and self.segments is None and radius is None:
            return AttentionMask()
        dense = torch.ones(1, 1, self.queries, self.queries, dtype=torch.bool, device=self.device)
        if radius is not None:
            at = torch.arange(self.queries, device=self.device)
            dense = dense & ((at[:, None] - at).abs() <= radius)
        return AttentionMask(self._limited(dense, self.queries))

    def _limited(self, dense: torch.Tensor, keys: int) -> torch.Tensor:
        if self.padding is not None:
            dense = dense & self.padding[:, None, None, -keys:].bool()
        if self.segments is not None:
            dense = dense & (self.segments[:, None, :, None] == self.segments[:, None, None, :])
        return open_empty_rows(dense)


def has_padding(attention_mask: torch.Tensor | None, batch: int, length: int) -> bool:
    """Whether a 0/1 mask hides anything.

    Args:
        attention_mask (Tensor): [b, k], 1 for a token, 0 for padding.
        batch: b of the input.
        length: k, the cached positions and the new ones.

    Raises:
        ModelError: the mask has another shape.
    """
    if attention_mask is None:
        return False
    if attention_mask.shape != (batch, length):
        raise ModelError(
            f"attention_mask has shape {tuple(attention_mask.shape)}, expected {(batch, length)}",
            fix="give one 0 or 1 for each cached and each new position",
        )
    if torch.compiler.is_compiling():  # a compiled graph cannot branch on values
        return True
    return not bool(attention_mask.all())


def cross_mask(attention_mask: torch.Tensor | None, queries: int) -> AttentionMask:
    """The mask of queries that look at an encoder's states.

    Args:
        attention_mask (Tensor): [b, k] of 0/1 over the encoder's input, or None.
        queries: positions of the decoder.
    """
    if attention_mask is None:
        return AttentionMask()
    dense = attention_mask.bool()[:, None, None, :].expand(-1, 1, queries, -1)
    return AttentionMask(open_empty_rows(dense))


def position_ids_of(
    queries: int,
    past: int,
    device: torch.device,
    padding: torch.Tensor | None = None,
    segments: torch.Tensor | None = None,
) -> torch.Tensor:
    """Count positions from the first real token of each row or segment.

    So left padding shifts nothing, and a packed text has the positions that it has alone.

    Args:
        queries: new positions.
        past: cached positions.
        device: of the input.
        padding (Tensor): [b, past + queries] of 0/1, or None where nothing is padded.
        segments (Tensor): [b, queries]; see `Sight`.

    Returns:
        [b or 1, queries]; padding counts as the position of the token before it
    """
    if segments is not None:
        index = torch.arange(queries, device=device).expand_as(segments)
        begins = torch.ones_like(segments, dtype=torch.bool)
        begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
        return index - torch.where(begins, index, 0).cummax(-1).values
    if padding is None:
        return torch.arange(past, past + queries, device=device)[None]
    return (padding.long().cumsum(-1) - 1).clamp_(min=0)[:, -queries:]


def open_empty_rows(dense: torch.Tensor) -> torch.Tensor:
    """Let a query that may see nothing see everything: softmax over no key is NaN.

    Such a query is padding itself. What it computes reaches no token, since none may look at it.
    """
    return dense | ~dense.any(-1, keepdim=True)
