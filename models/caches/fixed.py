"""Stores of fixed shape, for decoding steps that are compiled once.

They are allocated at the first update. The position where new keys go is a tensor, which all
stores of a cache share: no graph depends on its value, and nothing waits for the device to read it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from tfcli.models.caches.stores import (
    ALL,
    Change,
    Store,
    fits,
    lanes_of,
    numbered,
    require_alike,
    require_no_gradient,
)
from tfcli.models.errors import ModelError


class FixedStore(Store):
    """Gives its whole buffers back at each update; a mask hides the places that are empty.

    There is no gradient.

    Args:
        position (Tensor): int64 [], positions seen so far; `Cache` moves it.
        length: positions that fit.
    """

    form = ALL

    def __init__(self, position: torch.Tensor, length: int) -> None:
        self.position = position
        self.length = length
        self._rooms: tuple[torch.Tensor, ...] = ()
        self._empty = True  # so that the buffers may still become others

    @property
    def kept(self) -> int:
        """Read from the device; a forward pass asks for `places` instead."""
        return int(self.position)

    def update(self, *new: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self._make_room(new)
        at = self._at(new[0].shape[2])
        for room, x in zip(self._rooms, new, strict=True):
            room.index_copy_(2, at, x)
        return self._rooms

    def commit(self) -> None:
        """Nothing: the position says what counts."""

    def reset(self) -> None:
        self._empty = True

    def tensors(self) -> list[torch.Tensor]:
        return list(self._rooms)

    def apply(self, change: Change) -> None:
        self._rooms = tuple(map(change, self._rooms))

    def reorder(self, rows: torch.Tensor) -> None:
        """In place: a compiled step may know the buffers by where they lie."""
        for room in self._rooms:
            room.copy_(room.index_select(0, rows.to(room.device)))

    def crop(self, length: int, past: int) -> None:
        """Nothing: the position says what counts."""

    def content(self) -> dict[str, torch.Tensor]:
        return numbered(room[:, :, : self.kept] for room in self._rooms)

    def restore(self, content: Mapping[str, torch.Tensor], length: int) -> None:
        """The position must be 0; `Cache` moves it afterwards."""
        self.reset()
        self.update(*lanes_of(content))

    def places(self, past: int | torch.Tensor, new: int) -> torch.Tensor | None:
        return torch.arange(self.length, device=self.position.device)

    def _at(self, new: int) -> torch.Tensor:
        return self.position + torch.arange(new, device=self.position.device)

    def _room(self, like: torch.Tensor) -> torch.Tensor:
        batch, heads, _, width = like.shape
        return like.new_zeros(batch, heads, self.length, width)

    def _make_room(self, new: tuple[torch.Tensor, ...]) -> None:
        require_no_gradient(new, "a static cache")
        self._require_room(new[0].shape[2])
        alike = bool(self._rooms) and all(map(fits, self._rooms, new))
        if self._empty and not alike:
            self._rooms = tuple(self._room(x) for x in new)
        elif not alike:
            require_alike(self._rooms, new)
            raise ModelError(
                "a static cache that was filled in inference mode is not writable outside of it",
                fix="run under torch.inference_mode() throughout, or torch.no_grad() throughout",
            )
        self._empty = False

    def _require_room(self, new: int) -> None:
        """Where it costs nothing to look; elsewhere index_copy_ itself refuses."""
        if torch.compiler.is_compiling() or self.position.device.type != "cpu":
            return
        end = int(self.position) + new
        if end > self.length:
            raise ModelError(
                f"the static cache holds {self.length} positions, but {end} are needed",
                fix="make the cache longer, or generate fewer tokens",
            )


class FixedSlidingStore(FixedStore):
    """The same for a layer that sees a window: a ring of as many places.

    Position p lies at p modulo the window. So one new position takes the place of the one that it
    does not see any more; several are joined to the ring, and written when the pass is over.

    Args:
        position (Tensor): as in `FixedStore`.
        length: positions that the text may have.
        window: keys that a query sees, its own among them; fewer than `length`.
    """

    def __init__(self, position: torch.Tensor, length: int, window: int) -> None:
        super().__init__(position, length)
        self.window = window
        self.form = f"the last {window - 1}"
        self._new: tuple[torch.Tensor, ...] = ()

    @property
    def kept(self) -> int:
        """Read from the device; a forward pass asks for `places` instead."""
        return min(int(self.position), self.window - 1)

    def update(self, *new: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self._make_room(new)
        if new[0].shape[2] > 1:
            self._new = new
            pairs = zip(self._rooms, new, strict=True)
            return tuple(torch.cat((room, x), dim=2) for room, x in pairs)
        self._new = ()
        for room, x in zip(self._rooms, new, strict=True):
            room.index_copy_(2, self._at(1), x)
        return self._rooms

    def commit(self) -> None:
        if not self._new:
            return
        count = self._new[0].shape[2]
        left = min(count, self.window)  # one place must not be written twice
        at = (self.position + torch.arange(count - left, count, device=self.position.device)) % (
            self.window
        )
        for room, x in zip(self._rooms, self._new, strict=True):
            room.index_copy_(2, at, x[:, :, count - left :])
        self._new = ()

    def reset(self) -> None:
        super().reset()
        self._new = ()

    def why_not(self, length: int, past: int) -> str | None:
        if length in (0, past) or past <= self.window:
            return None
        return f"a layer that sees {self.window} positions no longer has those before that"

    def content(self) -> dict[str, torch.Tensor]:
        end = int(self.position)
        at = torch.arange(end - self.kept, end, device=self.position.device) % self.window
        return numbered(room.index_select(2, at) for room in self._rooms)

    def restore(self, content: Mapping[str, torch.Tensor], length: int) -> None:
        self._new, self._empty = (), False
        lanes = [lane[:, :, -self.window :] for lane in lanes_of(content)]
        count = lanes[0].shape[2]
        at = torch.arange(length - count, length, device=self.position.device) % self.window
        self._rooms = tuple(self._room(lane) for lane in lanes)
        for room, lane in zip(self._rooms, lanes, strict=True):
            room.index_copy_(2, at, lane)

    def places(self, past: int | torch.Tensor, new: int) -> torch.Tensor | None:
        slots = torch.arange(self.window, device=self.position.device)
        last = self.position if new == 1 else self.position - 1
        ring = last - (last - slots) % self.window
        return ring if new == 1 else torch.cat((ring, self._text_places(new)))

    def _text_places(self, new: int) -> torch.Tensor:
        return self.position + torch.arange(new, device=self.position.device)

    def _at(self, new: int) -> torch.Tensor:
        return self._text_places(new) % self.window

    def _room(self, like: torch.Tensor) -> torch.Tensor:
        batch, heads, _, width = like.shape
        return like.new_zeros(batch, heads, self.window, width)
