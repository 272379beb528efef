"""Positions of three numbers (M-RoPE): time, height and width of what media show.

A token of a text has its number three times. A medium's tokens begin where the text before ended,
and count frames, rows and columns from there; the text goes on after its longer side.
Reference: transformers `modeling_qwen2_vl.py`, `get_rope_index`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from tfcli.models.caches.kinds import Dynamic
from tfcli.models.caches.layers import CachingLayer
from tfcli.models.caches.recurrent import ShiftStore
from tfcli.models.caches.stores import Store
from tfcli.models.context import Context


class PositionShift(CachingLayer):
    """Remembers from one pass to the next how far positions are from the number of tokens."""

    slot = "positions"
    layer = 0

    def make_store(self, kind: Dynamic) -> Store | None:
        return kind.shift()

    def carried(self, context: Context) -> torch.Tensor | None:
        """What is added to the number of a token, int64 [b, 1]; None: nothing."""
        store = context.store(self.layer, self.slot)
        if store is None:
            return None
        assert isinstance(store, ShiftStore)
        return store.state.get("shift")

    def carry_on(self, context: Context, shift: torch.Tensor) -> None:
        """Leave it for the next passes. shift (Tensor): int64 [b, 1]"""
        store = context.store(self.layer, self.slot)
        if store is None:
            return
        assert isinstance(store, ShiftStore)
        since = torch.zeros_like(shift) + context.past + context.sight.queries
        store.carry_on(shift=shift, since=since)


def rope_index(
    kinds: torch.Tensor,
    grids: Mapping[int, torch.Tensor],
    merge: int,
    start: torch.Tensor,
    real: torch.Tensor | None = None,
    segments: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The positions of tokens, and where the text goes on. Nothing is read from a device.

    Args:
        kinds (Tensor): int [b, s], 0 for a word, the number of a kind of media for its features.
        grids (Tensor): for each kind int [n, 3], frames, rows and columns of the patches of its
            media, in the order of the batch.
        merge: side of the square of patches that is one feature.
        start (Tensor): int64 [b or 1, 1], the position of a row's first token.
        real (Tensor): [b, s] of 0/1, 0 for padding; None where nothing is padded.
        segments (Tensor): [b, s], the number of the text that a token belongs to, for rows of
            several, each of which begins at the first position; None: a row is one text.

    Returns:
        positions int64 [b, 3, s], and the position after the largest of each row, int64 [b, 1]
    """
    batch, length = kinds.shape
    words = (kinds == 0) if real is None else (kinds == 0) & real.bool()
    step = words.long()  # how far a token moves what comes after it
    inside = step.new_zeros(batch, 3, length)
    for kind, grid in grids.items():
        marked = kinds == kind if real is None else (kinds == kind) & real.bool()
        frames, high, wide = (grid.to(kinds.device, torch.long) // _squares(grid, merge)).unbind(1)
        counts = frames * high * wide
        at = (marked.flatten().long().cumsum(0) - 1).clamp(min=0)
        which = torch.searchsorted(counts.cumsum(0), at, right=True).clamp(max=len(grid) - 1)
        at = at - (counts.cumsum(0) - counts)[which]
        high, wide, counts = high[which], wide[which], counts[which]
        places = torch.stack((at // (high * wide), at // wide % high, at % wide))
        inside = torch.where(marked[:, None], places.view(3, batch, length).transpose(0, 1), inside)
        ends = torch.maximum(high, wide) * (at == counts - 1)
        step = torch.where(marked, ends.view(batch, length), step)
    before = step.cumsum(-1) - step
    if segments is not None:
        index = torch.arange(length, device=kinds.device).expand_as(segments)
        begins = torch.ones_like(segments, dtype=torch.bool)
        begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
        before = before - before.gather(1, index.masked_fill(~begins, 0).cummax(-1)[0])
    positions = (start + before)[:, None] + inside
    seen = positions if real is None else positions.masked_fill(~real[:, None].bool(), -1)
    return positions, seen.amax((1, 2))[:, None] + 1


def _squares(grid: torch.Tensor, merge: int) -> torch.Tensor:
    """What frames, rows and columns are divided by, on the device of the grid."""
    return torch.ones_like(grid[:1]) + (merge - 1) * (torch.arange(3, device=grid.device) > 0)
