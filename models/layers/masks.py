"""Which key each query may see, as a rule that layers share and backends read.

A rule is written out as a matrix only for a backend that needs one; flex attention gets the rule
itself, and causal kernels get a word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import torch

from tfcli.models import processor
from tfcli.models.errors import ModelError


class Place(NamedTuple):
    """What a rule asks of a query or a key: tensors of any shapes that broadcast.

    Args:
        at: its position in the row.
        segment: number of the text that it belongs to; None where a row is one text.
        group: number of the tokens that see each other, -1 for none; None where there are none.
    """

    at: torch.Tensor
    segment: torch.Tensor | None
    group: torch.Tensor | None
    stretch: torch.Tensor | None


@dataclass(eq=False)
class Rule:
    """Which key each query may see. The last query is beside the last key.

    Args:
        queries: how many.
        keys: how many.
        device: of the input.
        first: position of the first key in its row.
        causal: a query sees itself and what came before.
        window: with `causal`, keys that a query sees at most, its own among them.
        radius: a query sees nothing that is farther away.
        stretches (Tensor): [b or 1, keys]; a query sees only keys of its own stretch of the text.
        padding (Tensor): [b, keys] of 0/1, 0 for what nobody sees.
        segments (Tensor): [b, keys]; texts do not see each other.
        groups (Tensor): [b or 1, keys]; tokens of one number, 0 or more, see each other whatever
            order, window and chunk say.
        groups_in_window: they do whatever order says, but not past the window or the chunk.
    """

    queries: int
    keys: int
    device: torch.device
    first: int = 0
    causal: bool = False
    window: int | None = None
    radius: int | None = None
    stretches: torch.Tensor | None = None
    padding: torch.Tensor | None = None
    segments: torch.Tensor | None = None
    groups: torch.Tensor | None = None
    groups_in_window: bool = False

    def allows(self, query: Place, key: Place, real: torch.Tensor | None) -> torch.Tensor:
        """Whether a query may see a key, which is `real` or padding. bool, as they broadcast."""
        distance = query.at - key.at
        seen = distance >= 0 if self.causal else torch.ones_like(distance, dtype=torch.bool)
        if self.groups_in_window:
            seen = with_groups(seen, query.group, key.group)
        if self.window is not None:
            seen = seen & (distance < self.window)
        if self.radius is not None:
            seen = seen & (distance.abs() <= self.radius)
        if query.stretch is not None and key.stretch is not None:
            seen = seen & (query.stretch == key.stretch)
        if not self.groups_in_window:
            seen = with_groups(seen, query.group, key.group)
        if query.segment is not None and key.segment is not None:
            seen = seen & (query.segment == key.segment)
        return seen if real is None else seen & real

    def matrix(self) -> torch.Tensor:
        """The rule written out, bool [b or 1, 1, queries, keys]; no row of it is empty."""
        skipped = self.keys - self.queries
        given = (self.segments, self.groups, self.stretches)
        at = torch.arange(self.first + skipped, self.first + self.keys, device=self.device)
        rows = (None if each is None else each[:, None, skipped:, None] for each in given)
        query = Place(at[None, None, :, None], *rows)
        at = torch.arange(self.first, self.first + self.keys, device=self.device)
        columns = (None if each is None else each[:, None, None, :] for each in given)
        key = Place(at[None, None, None, :], *columns)
        real = None if self.padding is None else self.padding[:, None, None, :].bool()
        return open_empty_rows(self.allows(query, key, real))

    def mask_mod(self) -> Callable[..., torch.Tensor]:
        """The rule as flex_attention asks it: of a row, a head, a query and a key, by number.

        A query that may see nothing gets zeros there; see `open_empty_rows`.
        """
        skipped = self.keys - self.queries
        given = (self.segments, self.groups, self.stretches)
        padding = None if self.padding is None else self.padding.bool()

        def place(b: torch.Tensor, at: torch.Tensor) -> Place:
            found = (
                None if each is None else each[b if each.shape[0] > 1 else 0, at] for each in given
            )
            return Place(self.first + at, *found)

        def seen(
            b: torch.Tensor, h: torch.Tensor, q: torch.Tensor, k: torch.Tensor
        ) -> torch.Tensor:
            real = None if padding is None else padding[b, k]
            return self.allows(place(b, skipped + q), place(b, k), real)

        return seen

    @property
    def batch(self) -> int | None:
        """Rows of the batch that differ in what they see; None where all see alike."""
        each_row = (self.padding, self.segments, self.groups)
        given = [each for each in each_row if each is not None]
        return given[0].shape[0] if given else None


def with_groups(
    seen: torch.Tensor, query_group: torch.Tensor | None, key_group: torch.Tensor | None
) -> torch.Tensor:
    """What is seen, and what is of the query's own group; bool, as they broadcast.

    Args:
        seen (Tensor): bool
        query_group (Tensor): number of the query's group, -1 for none; None: there are no groups.
        key_group (Tensor): the same of the key.
    """
    if query_group is None or key_group is None:
        return seen
    return seen | ((query_group == key_group) & (query_group >= 0))


class AttentionMask:
    """What attention backends need to know.

    Args:
        matrix (Tensor): bool [b or 1, 1, q, k], True where a query may look, of a caller who says
            so for each pair.
        causal: nothing but order limits: a query sees itself and what came before, and the last
            query is beside the last key.
        rule: what limits, where it is more than order.
        bias (Tensor): [b or 1, heads, q, k], added to the scaled scores (ALiBi, relative
            positions); None adds nothing.

    Without any of them every query sees every key.
    """

    def __init__(
        self,
        matrix: torch.Tensor | None = None,
        *,
        causal: bool = False,
        rule: Rule | None = None,
        bias: torch.Tensor | None = None,
    ) -> None:
        self.causal = causal
        self.rule = rule
        self.bias = bias
        self._given = matrix
        # Kept by hand: cached_property has a lock, which torch.compile cannot trace.
        self._matrix = matrix
        self._additive: dict[torch.dtype, torch.Tensor] = {}
        self._block_mask: Any = None

    @property
    def limited(self) -> bool:
        """Whether more than order limits what is seen, so that plain causal kernels do not fit."""
        return self._given is not None or self.rule is not None

    def with_bias(self, bias: torch.Tensor) -> AttentionMask:
        """The same mask with scores moved by `bias`."""
        return AttentionMask(self._given, causal=self.causal, rule=self.rule, bias=bias)

    def visible(self, queries: int, keys: int, device: torch.device) -> torch.Tensor | None:
        """The mask written out, bool [b or 1, 1, q, k]; None where every query sees every key."""
        if self._matrix is None and self.causal:
            everything = torch.ones(queries, keys, dtype=torch.bool, device=device)
            self._matrix = everything.tril(keys - queries)[None, None]
        if self._matrix is None and self.rule is not None:
            self._matrix = self.rule.matrix()
        return self._matrix

    def additive(self, dtype: torch.dtype) -> torch.Tensor | None:
        """Bias and mask as one tensor: the bias, with -inf where a query may not look."""
        if self.bias is None:
            return None
        if dtype not in self._additive:
            bias = self.bias.to(dtype)
            seen = self.visible(bias.shape[-2], bias.shape[-1], bias.device)
            self._additive[dtype] = bias if seen is None else bias.masked_fill(~seen, -torch.inf)
        return self._additive[dtype]

    def block_mask(self, queries: int, keys: int, device: torch.device) -> Any:
        """The mask for flex_attention, made once; None where every query sees every key.

        It is made of the rule. On an accelerator that is compiled and holds no [q, k].
        """
        if self._block_mask is None and (self.limited or self.causal):
            matrix, rule = self._given, self.rule or Rule(queries, keys, device, causal=True)
            mask_mod, batch = rule.mask_mod(), rule.batch
            if matrix is not None:
                batch = matrix.shape[0] if matrix.shape[0] > 1 else None
                mask_mod = partial(_in_matrix, matrix)
            made = _block_mask_function(device.type)
            self._block_mask = made(mask_mod, batch, None, queries, keys, device=device)
        return self._block_mask


def _in_matrix(
    matrix: torch.Tensor, b: torch.Tensor, h: torch.Tensor, q: torch.Tensor, k: torch.Tensor
) -> torch.Tensor:
    return matrix[b if matrix.shape[0] > 1 else 0, 0, q, k]


def _block_mask_function(device_type: str) -> Callable[..., Any]:
    from torch.nn.attention.flex_attention import create_block_mask

    if device_type == "cpu" or torch.compiler.is_compiling():
        return create_block_mask
    return _compiled(create_block_mask)  # uncompiled, it asks for every pair at once


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function)


class Sight:
    """What limits the sight of the queries of one forward pass: order, padding, segments, groups.

    Layers that ask alike get the same mask.

    Args:
        queries: new positions.
        past: earlier positions, which a cache holds.
        device: of the input.
        padding (Tensor): [b, past + queries] of 0/1, or None where nothing is padded.
        segments (Tensor): [b, queries], the number of the text that each token belongs to, for
            several texts packed into one row; None where a row is one text.
        groups (Tensor): int [b or 1, queries]; new tokens of an equal number, 0 or more, see each
            other in both directions, whatever order and window say (an image's, a prefix's); -1
            for a token of none. None where there are none. A group lies within one forward pass.
        groups_in_window: see `Rule`.
    """

    def __init__(
        self,
        queries: int,
        past: int,
        device: torch.device,
        padding: torch.Tensor | None = None,
        segments: torch.Tensor | None = None,
        groups: torch.Tensor | None = None,
        groups_in_window: bool = False,
    ) -> None:
        self.queries = queries
        self.past = past
        self.device = device
        self.padding = padding
        self.segments = segments
        self.groups = groups
        self.groups_in_window = groups_in_window
        self._made: dict[Any, AttentionMask] = {}

    def causal(
        self, kept: int = 0, *, window: int | None = None, chunk: int | None = None
    ) -> AttentionMask:
        """A decoder's mask: a query sees itself, what came before, and its group.

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
        # One token has nothing in its group that it does not see.
        groups = self.groups if self.queries > 1 else None
        if self._unlimited and groups is None and window is chunk is None:
            return AttentionMask(causal=self.queries > 1)
        if groups is not None and kept:
            groups = torch.nn.functional.pad(groups, (kept, 0), value=-1)
        stretches = None
        if chunk is not None:
            # Stretches begin with the text, wherever that is in a padded or packed row.
            at = position_ids_of(
                self.past + self.queries, 0, self.device, self.padding, self.segments
            )
            stretches = at[:, -keys:] // chunk
        return AttentionMask(
            rule=Rule(
                self.queries,
                keys,
                self.device,
                first=self.past - kept,
                causal=True,
                window=window,
                stretches=stretches,
                padding=None if self.padding is None else self.padding[:, -keys:],
                segments=self.segments,
                groups=groups,
                groups_in_window=self.groups_in_window,
            )
        )

    def _full(self, radius: int | None) -> AttentionMask:
        if self._unlimited and radius is None:
            return AttentionMask()
        return AttentionMask(
            rule=Rule(
                self.queries,
                self.queries,
                self.device,
                radius=radius,
                padding=None if self.padding is None else self.padding[:, -self.queries :],
                segments=self.segments,
                groups=None if radius is None else self.groups,
            )
        )

    @property
    def _unlimited(self) -> bool:
        return self.padding is None and self.segments is None


def has_padding(attention_mask: torch.Tensor | None, batch: int, length: int) -> bool:
    """Whether a 0/1 mask may hide anything.

    Values are looked at where that costs nothing; on a device a mask counts as one that hides, so
    leave it out where nothing is padded.

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
    return not processor.can_read(attention_mask) or not bool(attention_mask.all())


def cross_mask(attention_mask: torch.Tensor | None, queries: int) -> AttentionMask:
    """The mask of queries that look at an encoder's states.

    Args:
        attention_mask (Tensor): [b, k] of 0/1 over the encoder's input, or None.
        queries: positions of the decoder.
    """
    if attention_mask is None:
        return AttentionMask()
    keys, device = attention_mask.shape[1], attention_mask.device
    return AttentionMask(rule=Rule(queries, keys, device, padding=attention_mask))


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
