"""A store for layers whose queries see a window only."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from tfcli.models.caches.stores import Change, Store, fits, lanes_of, numbered, require_alike

_SLACK = 256  # positions that the store takes before it moves its window to the front


class SlidingStore(Store):
    """Keeps what the next query can still see: `window - 1` positions.

    The buffer has some room behind the window. New positions are written there; only when it is
    full, the window moves to the front, so that a step copies next to nothing.

    Args:
        window: keys that a query sees, its own among them.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self.form = f"the last {window - 1}"
        self._first = 0  # where in the text the buffers begin
        self._end = self._next_end = 0  # how much of the buffers is filled; the same after `commit`
        self._rooms: tuple[torch.Tensor, ...] = ()
        self._next: tuple[torch.Tensor, ...] = ()  # the buffers after `commit`
        self._next_first = 0

    @property
    def kept(self) -> int:
        return min(self._end, self.window - 1)

    @property
    def first_kept(self) -> int:
        """Where in the text the kept positions begin."""
        return self._first + self._end - self.kept

    def update(self, *new: torch.Tensor) -> tuple[torch.Tensor, ...]:
        kept, count = self.kept, new[0].shape[2]
        if kept:
            require_alike(self._rooms, new)
        if count > _SLACK or torch.is_grad_enabled():
            return self._replace(new)
        if not self._rooms or not all(map(fits, self._rooms, new)):
            rooms = tuple(self._room(x) for x in new)
            for room, old in zip(rooms, self._rooms if kept else (), strict=False):
                room[:, :, :kept] = old[:, :, self._end - kept : self._end]
            self._rooms = rooms
            self._first, self._end = self._first + self._end - kept, kept
        if self._end + count > self._rooms[0].shape[2]:
            for room in self._rooms:
                room[:, :, :kept] = room[:, :, self._end - kept : self._end].clone()
            self._first, self._end = self._first + self._end - kept, kept
        end = self._end + count
        for room, x in zip(self._rooms, new, strict=True):
            room[:, :, self._end : end] = x
        self._next, self._next_first, self._next_end = self._rooms, self._first, end
        return tuple(room[:, :, self._end - kept : end] for room in self._rooms)

    def commit(self) -> None:
        self._rooms, self._first, self._end = self._next, self._next_first, self._next_end

    def reset(self) -> None:
        self._first = self._end = 0
        self._settle()

    def tensors(self) -> list[torch.Tensor]:
        return list(self._rooms)

    def apply(self, change: Change) -> None:
        self._rooms = tuple(map(change, self._rooms))
        self._settle()

    def why_not(self, length: int, past: int) -> str | None:
        end = length - self._first
        if length in (0, past) or self._first == 0 or end >= self.window - 1:
            return None
        return f"a layer that sees {self.window} positions no longer has those before that"

    def crop(self, length: int, past: int) -> None:
        self._first = self._first if length else 0
        self._end = length - self._first
        self._settle()

    def content(self) -> dict[str, torch.Tensor]:
        kept = slice(self._end - self.kept, self._end)
        return numbered(room[:, :, kept] for room in self._rooms)

    def restore(self, content: Mapping[str, torch.Tensor], length: int) -> None:
        lanes = lanes_of(content)
        self.reset()
        self._first = length - lanes[0].shape[2]
        self.update(*lanes)

    def _settle(self) -> None:
        """Let nothing be waiting for `commit`."""
        self._next, self._next_first, self._next_end = self._rooms, self._first, self._end

    def _replace(self, new: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Many positions at once, or with gradients: join, then keep a copy."""
        kept, whole = self.kept, new
        if kept:
            old = slice(self._end - kept, self._end)
            pairs = zip(self._rooms, new, strict=True)
            whole = tuple(torch.cat((room[:, :, old], x), dim=2) for room, x in pairs)
        count = whole[0].shape[2]
        left = min(count, self.window - 1)
        self._next = tuple(self._room(x) for x in new)
        for room, x in zip(self._next, whole, strict=True):
            room[:, :, :left] = x[:, :, count - left :].detach()
        self._next_first = self._first + self._end - kept + count - left
        self._next_end = left
        return whole

    def _room(self, like: torch.Tensor) -> torch.Tensor:
        batch, heads, _, width = like.shape
        return like.new_zeros(batch, heads, self.window - 1 + _SLACK, width)
