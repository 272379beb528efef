"""Masks and positions where keys do not simply end with the new ones; see `Store.places`."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tfcli.models.errors import ModelError
from tfcli.models.layers.masks import AttentionMask, open_empty_rows, with_groups


def placed_mask(
    query_at: torch.Tensor,
    key_at: torch.Tensor,
    *,
    window: int | None = None,
    chunk: int | None = None,
    always: int = 0,
    padding: torch.Tensor | None = None,
    groups: torch.Tensor | None = None,
    groups_in_window: bool = False,
) -> AttentionMask:
    """A decoder's mask from places alone; see `Sight.causal`.

    Args:
        query_at (Tensor): int64 [q], where in the text queries stand.
        key_at (Tensor): int64 [k], the same of keys; below 0 there is none.
        window: keys that a query sees at most, its own among them.
        chunk: a query sees only keys of its own stretch of so many positions of its text.
        always: so many positions of the beginning are seen from everywhere.
        padding (Tensor): [b, any] of 0/1 over places, or None where nothing is padded.
        groups (Tensor): int [b or 1, q], of the queries; see `Sight`.
        groups_in_window: see `Rule`.
    """
    own = None if groups is None else groups[:, None, :, None]
    theirs = None if groups is None else _groups_of_keys(groups, query_at, key_at)[:, None, None]
    query_at = query_at[:, None]
    seen = query_at >= key_at
    if groups_in_window:
        seen = with_groups(seen, own, theirs)
    if window is not None:
        seen = seen & (query_at - key_at < window)
    if chunk is not None:
        own_at, their_at = (_in_text(at, padding) // chunk for at in (query_at[:, 0], key_at))
        seen = seen & (own_at[..., :, None] == their_at[..., None, :])
    if always:
        seen = seen | ((key_at < always) & (query_at >= key_at))
    if not groups_in_window:
        seen = with_groups(seen, own, theirs)
    visible = seen & (key_at >= 0)
    visible = visible[None, None] if visible.ndim == 2 else visible
    if padding is None:
        return AttentionMask(visible)
    shown = padding.index_select(1, key_at.clamp(min=0)).bool()
    return AttentionMask(open_empty_rows(visible & shown[:, None, None]))


def _in_text(at: torch.Tensor, padding: torch.Tensor | None) -> torch.Tensor:
    """Places [n] counted from where each text begins, behind its padding: [n], or [b, 1, n]."""
    if padding is None:
        return at
    return _counted(padding).index_select(1, at.clamp(min=0))[:, None]


def _counted(padding: torch.Tensor) -> torch.Tensor:
    """The position of each place, [b, any] of 0/1 -> the same; 0 in front of a text."""
    return (padding.long().cumsum(-1) - 1).clamp(min=0)


def _groups_of_keys(
    groups: torch.Tensor, query_at: torch.Tensor, key_at: torch.Tensor
) -> torch.Tensor:
    """Numbers of the keys' groups, [b or 1, k]: -1 for those of earlier passes and empty places.

    Arguments are those of `placed_mask`.
    """
    new = key_at - query_at[0]
    is_new = (new >= 0) & (new < len(query_at))
    found = groups.index_select(1, new.clamp(0, len(query_at) - 1))
    return found.masked_fill(~is_new, -1)


def widened(attention_mask: torch.Tensor | None, batch: int, capacity: int) -> torch.Tensor | None:
    """A mask over all places of a static cache; those that it does not reach are tokens.

    Args:
        attention_mask (Tensor): [b, at most capacity] of 0/1, or None. Of a fixed width, so that
            a compiled step takes it, it says 1 of what is still to come.
        batch: b of the input.
        capacity: of the cache.

    Raises:
        ModelError: the mask has another shape.
    """
    if attention_mask is None:
        return None
    rows, width = attention_mask.shape
    if rows != batch or width > capacity:
        raise ModelError(
            f"attention_mask has shape {(rows, width)}, expected {batch} rows "
            f"of at most {capacity}",
            fix="give one 0 or 1 for each cached and each new position",
        )
    return F.pad(attention_mask, (0, capacity - width), value=1)


def fixed_positions(past: torch.Tensor, queries: int, padding: torch.Tensor | None) -> torch.Tensor:
    """As `position_ids_of`, after a number of positions that only the device knows.

    Args:
        past (Tensor): int64 []
        queries: new positions.
        padding (Tensor): [b, capacity] of 0/1, or None.

    Returns:
        [b or 1, queries]
    """
    at = past + torch.arange(queries, device=past.device)
    if padding is None:
        return at[None]
    return _counted(padding).index_select(1, at)
