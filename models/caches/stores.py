"""Stores of one layer's keys and values: growing, fixed, sliding."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch

from tfcli.models.errors import ModelError

Pair = tuple[torch.Tensor, torch.Tensor]
_SLACK = 256  # positions that a sliding store takes before it moves its window to the front


class Store(Protocol):
    """One layer's earlier keys and values."""

    @property
    def kept(self) -> int:
        """How many earlier positions the next `update` returns before the new ones."""
        ...

    @property
    def nbytes(self) -> int:
        """Memory that it holds, room for positions to come included."""
        ...

    def update(self, key: torch.Tensor, value: torch.Tensor) -> Pair:
        """Take new positions, return all that queries may need.

        Args:
            key (Tensor): [b, kv_heads, s, key_dim]
            value (Tensor): [b, kv_heads, s, value_dim]

        Returns:
            keys and values of the kept positions and the new ones, [b, kv_heads, kept + s, ...]
        """
        ...

    def reset(self) -> None:
        """Forget every position."""
        ...


class GrowingStore:
    """Keeps everything; takes shape, dtype and device from what is stored."""

    def __init__(self) -> None:
        self._pair: Pair | None = None

    @property
    def kept(self) -> int:
        return 0 if self._pair is None else self._pair[0].shape[2]

    @property
    def nbytes(self) -> int:
        return held(self._pair or ())

    def update(self, key: torch.Tensor, value: torch.Tensor) -> Pair:
        if self._pair is not None:
            key = torch.cat((self._pair[0], key), dim=2)
            value = torch.cat((self._pair[1], value), dim=2)
        self._pair = key, value
        return self._pair

    def reset(self) -> None:
        self._pair = None


class FixedStore:
    """Allocated once, at the first update; a step copies nothing old.

    Args:
        max_length: positions that fit.
    """

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self.kept = 0
        self._pair: Pair | None = None

    @property
    def nbytes(self) -> int:
        return held(self._pair or ())

    def update(self, key: torch.Tensor, value: torch.Tensor) -> Pair:
        end = self.kept + key.shape[2]
        if end > self.max_length:
            raise ModelError(
                f"the static cache holds {self.max_length} positions, but {end} are needed",
                fix="make the cache longer, or generate fewer tokens",
            )
        if self._pair is None or (not self.kept and _other_kind(self._pair[0], key)):
            self._pair = _room(key, self.max_length), _room(value, self.max_length)
        keys, values = self._pair
        keys[:, :, self.kept : end] = key
        values[:, :, self.kept : end] = value
        self.kept = end
        return keys[:, :, :end], values[:, :, :end]

    def reset(self) -> None:
        self.kept = 0


class SlidingStore:
    """Keeps what the next query can still see: `window - 1` positions.

    The buffer has some room behind the window. New positions are written there; only when it is
    full, the window moves to the front, so that a step copies next to nothing.

    Args:
        window: keys that a query sees, its own among them.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self._start = self._end = 0
        self._pair: Pair | None = None

    @property
    def kept(self) -> int:
        return min(self._end - self._start, self.window - 1)

    @property
    def nbytes(self) -> int:
        return held(self._pair or ())

    def update(self, key: torch.Tensor, value: torch.Tensor) -> Pair:
        kept, new = self.kept, key.shape[2]
        if new > _SLACK or (torch.is_grad_enabled() and key.requires_grad):
            return self._replace(key, value)
        if self._pair is None or (not self.kept and _other_kind(self._pair[0], key)):
            capacity = self.window - 1 + _SLACK
            self._pair = _room(key, capacity), _room(value, capacity)
        keys, values = self._pair
        if self._end + new > keys.shape[2]:
            for buffer in self._pair:
                buffer[:, :, :kept] = buffer[:, :, self._end - kept : self._end].clone()
            self._start, self._end = 0, kept
        start, self._end = self._end - kept, self._end + new
        keys[:, :, self._end - new : self._end] = key
        values[:, :, self._end - new : self._end] = value
        self._start = start
        return keys[:, :, start : self._end], values[:, :, start : self._end]

    def reset(self) -> None:
        self._start = self._end = 0

    def _replace(self, key: torch.Tensor, value: torch.Tensor) -> Pair:
        """Many positions at once, or positions with a gradient: join, then keep a copy."""
        if self.kept:
            assert self._pair is not None
            old = slice(self._end - self.kept, self._end)
            key = torch.cat((self._pair[0][:, :, old], key), dim=2)
            value = torch.cat((self._pair[1][:, :, old], value), dim=2)
        left = min(key.shape[2], self.window - 1)
        capacity = self.window - 1 + _SLACK
        self._pair = _room(key, capacity), _room(value, capacity)
        for buffer, whole in zip(self._pair, (key, value), strict=True):
            buffer[:, :, :left] = whole[:, :, whole.shape[2] - left :].detach()
        self._start, self._end = 0, left
        return key, value


def _other_kind(room: torch.Tensor, new: torch.Tensor) -> bool:
    """Whether a buffer was made for another batch; only an empty one can be given another."""
    alike = room.shape[:2] == new.shape[:2] and room.dtype == new.dtype
    return not alike or room.device != new.device


def _room(like: torch.Tensor, length: int) -> torch.Tensor:
    """Zeros for `length` positions, of the kind of `like`."""
    batch, heads, _, width = like.shape
    return torch.zeros(batch, heads, length, width, dtype=like.dtype, device=like.device)


def held(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes that tensors keep in memory: of what they are views of, and each piece once."""
    pieces = (tensor.untyped_storage() for tensor in tensors)
    return sum({piece.data_ptr(): piece.nbytes() for piece in pieces}.values())


def require_no_gradient(key: torch.Tensor, value: torch.Tensor, what: str) -> None:
    """Refuse states that a gradient would flow through.

    Raises:
        ModelError: with what keeps them named.
    """
    if torch.is_grad_enabled() and (key.requires_grad or value.requires_grad):
        raise ModelError(
            f"{what} keeps no gradients", fix="run under torch.no_grad(), or use DynamicCache"
        )
