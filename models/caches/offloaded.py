"""A store that keeps keys and values on another device than the one that computes with them."""

from __future__ import annotations

import torch

from tfcli.models.caches.stores import Pair, held, require_no_gradient

_SLACK = 256  # positions that there is room for at first


class OffloadedStore:
    """Keeps everything elsewhere, and brings a copy at each update.

    So the computing device holds the keys and values of one layer at a time. Room is made in
    growing steps, so that a new position copies nothing old. There is no gradient.

    Args:
        device: where keys and values stay. Where that is the computing device itself, they are
            copied all the same.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.kept = 0
        self._room: Pair | None = None

    @property
    def nbytes(self) -> int:
        return held(self._room or ())

    def update(self, key: torch.Tensor, value: torch.Tensor) -> Pair:
        require_no_gradient(key, value, "an offloaded cache")
        kept, end = self.kept, self.kept + key.shape[2]
        if self._room is None or end > self._room[0].shape[2]:
            self._room = self._grown(key, end, 0), self._grown(value, end, 1)
        keys, values = self._room
        keys[:, :, kept:end] = key
        values[:, :, kept:end] = value
        self.kept = end
        if not kept:
            return key, value
        return (
            torch.cat((keys[:, :, :kept].to(key.device), key), dim=2),
            torch.cat((values[:, :, :kept].to(value.device), value), dim=2),
        )

    def reset(self) -> None:
        self.kept, self._room = 0, None

    def _grown(self, new: torch.Tensor, end: int, which: int) -> torch.Tensor:
        """Room for `end` positions and more, with those that are kept."""
        batch, heads, _, width = new.shape
        room = torch.empty(
            batch,
            heads,
            max(end + _SLACK, 2 * self.kept),
            width,
            dtype=new.dtype,
            device=self.device,
            # Memory that a graphics card reads without the processor's help.
            pin_memory=new.device.type == "cuda" and self.device.type == "cpu",
        )
        if self._room is not None:
            room[:, :, : self.kept] = self._room[which][:, :, : self.kept]
        return room
