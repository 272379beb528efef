"""Stores that keep every position: in buffers that double, here or on another device."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence

import torch

from tfcli.models.caches.paged import Places
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

_SLACK = 256  # positions that there is room for beyond those of the first update


class GrowingStore(Store):
    """Keeps everything. Room is made in growing steps, so that a new position copies nothing old.

    With gradients, old and new positions are joined into new tensors instead: what a backward
    pass needs must not be written to.
    """

    form = ALL

    def __init__(self) -> None:
        self._kept = self._end = 0
        self._rooms: tuple[torch.Tensor, ...] = ()
        self._next: tuple[torch.Tensor, ...] = ()  # the rooms after `commit`

    @property
    def kept(self) -> int:
        return self._kept

    def update(self, *new: torch.Tensor) -> tuple[torch.Tensor, ...]:
        kept, end = self._kept, self._kept + new[0].shape[2]
        self._end = end
        if torch.is_grad_enabled():
            if kept:
                require_alike(self._rooms, new)
            old = self._rooms if kept else tuple(x[:, :, :0] for x in new)
            pairs = zip(old, new, strict=True)
            self._next = tuple(torch.cat((o[:, :, :kept], x), dim=2) for o, x in pairs)
            return self._next
        self.make_room(*new)
        for room, x in zip(self._rooms, new, strict=True):
            room[:, :, kept:end] = x
        return tuple(
            self._given(room, x, end) if kept else x
            for room, x in zip(self._rooms, new, strict=True)
        )

    def make_room(self, *new: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Have room for new positions behind those that are kept, for whoever writes them there.

        Args:
            new (Tensor): as in `update`; only their shapes and types are looked at.

        Returns:
            the buffers, [b, kv_heads, more than kept + s, width] each
        """
        self._end = end = self._kept + new[0].shape[2]
        if not self._has_room(new, end):
            if self._kept:
                require_alike(self._rooms, new)
            old = self._rooms if self._kept else tuple(x[:, :, :0] for x in new)
            self._rooms = tuple(self._grown(o, x, end) for o, x in zip(old, new, strict=True))
        self._next = self._rooms
        return self._rooms

    def places_of_rows(
        self, like: torch.Tensor, hidden: Sequence[int] | None = None
    ) -> list[Places] | None:
        """Where a kernel puts one new position of each row; see `PagedStore`. A row is one page,
        which begins behind what is hidden.

        None where the buffers are not contiguous.
        """
        rooms = self.make_room(like, like)
        if not all(room.is_contiguous() for room in rooms):
            return None
        length, kept = rooms[0].shape[2], self._kept
        before = [0] * len(rooms[0]) if hidden is None else hidden
        keys, values = (
            [
                array("q", [room.data_ptr() + (row * room.stride(0) + first * width) * size])
                for row, first in enumerate(before)
            ]
            for room, width, size in ((x, x.shape[3], x.itemsize) for x in rooms)
        )
        return [
            Places(own_keys, own_values, length, kept - first)
            for own_keys, own_values, first in zip(keys, values, before, strict=True)
        ]

    def commit(self) -> None:
        self._rooms, self._kept = self._next, self._end

    def reset(self) -> None:
        self._kept = self._end = 0
        self._rooms = self._next = ()

    def tensors(self) -> list[torch.Tensor]:
        return list(self._rooms)

    def apply(self, change: Change) -> None:
        self._end = self._kept
        self._rooms = self._next = tuple(map(change, self._rooms))

    def crop(self, length: int, past: int) -> None:
        self._kept = self._end = length
        self._next = self._rooms

    def content(self) -> dict[str, torch.Tensor]:
        return numbered(room[:, :, : self._kept] for room in self._rooms)

    def restore(self, content: Mapping[str, torch.Tensor], length: int) -> None:
        self.reset()
        self.update(*lanes_of(content))

    def _has_room(self, new: tuple[torch.Tensor, ...], end: int) -> bool:
        pairs = zip(self._rooms, new, strict=False)
        return bool(self._rooms) and all(r.shape[2] >= end and fits(r, x) for r, x in pairs)

    def _grown(self, old: torch.Tensor, new: torch.Tensor, end: int) -> torch.Tensor:
        """Room for `end` positions and more, with those that are kept."""
        batch, heads, _, width = new.shape
        kept = self._kept
        grown = self._empty(new, (batch, heads, max(end + _SLACK, 2 * kept), width))
        grown[:, :, :kept] = old[:, :, :kept]
        return grown

    def _empty(self, like: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.empty(shape, dtype=like.dtype, device=like.device)

    def _given(self, room: torch.Tensor, new: torch.Tensor, end: int) -> torch.Tensor:
        """What queries get of a buffer whose last positions are `new`."""
        return room[:, :, :end]


class OffloadedStore(GrowingStore):
    """Keeps everything elsewhere, and brings a copy at each update.

    So the computing device holds the keys and values of one layer at a time. There is no gradient.

    Args:
        device: where keys and values stay. Where that is the computing device itself, they are
            copied all the same.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        super().__init__()
        self.device = torch.device(device)

    def update(self, *new: torch.Tensor) -> tuple[torch.Tensor, ...]:
        require_no_gradient(new, "an offloaded cache")
        with torch.no_grad():
            return super().update(*new)

    def _empty(self, like: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.empty(
            shape,
            dtype=like.dtype,
            device=self.device,
            # Memory that a graphics card reads without the processor's help.
            pin_memory=like.device.type == "cuda" and self.device.type == "cpu",
        )

    def _given(self, room: torch.Tensor, new: torch.Tensor, end: int) -> torch.Tensor:
        old = room[:, :, : end - new.shape[2]].to(new.device)
        return torch.cat((old, new), dim=2)
