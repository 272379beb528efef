"""A store in pages: copies of it share what they have in common.

A text that begins as another one did needs no second copy of that beginning. Pages that are shared
are not written to: whoever goes on within one takes a copy of that page first.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import torch

from tfcli.models.caches.stores import (
    ALL,
    Change,
    Store,
    lanes_of,
    numbered,
    require_alike,
    require_no_gradient,
)

PAGE = 64
"""Positions of a page: few enough that a short text wastes little, and enough that a product with a
page is worth the call."""


class Places(NamedTuple):
    """Where a kernel finds the keys and values of one row.

    Args:
        keys: addresses of pages, [kv_heads, page, width] each and contiguous.
        values: the same.
        page: positions of a page.
        kept: positions that are there; there is room for one more.
    """

    keys: array[int]
    values: array[int]
    page: int
    kept: int


class PagedStore(Store):
    """Keeps every position, in pages of `PAGE`. There is no gradient."""

    form = ALL

    def __init__(self) -> None:
        self._kept = self._end = 0
        self._pages: list[tuple[torch.Tensor, ...]] = []  # lanes [b, kv_heads, PAGE, width]
        self._shared = 0  # so many of the first pages may be others' too
        self._places: list[tuple[array[int], array[int]]] = []  # of each row, see `places_of_rows`

    @property
    def kept(self) -> int:
        return self._kept

    def update(self, *new: torch.Tensor) -> tuple[torch.Tensor, ...]:
        require_no_gradient(new, "a paged cache")
        self._make_room(new)
        start, end = self._kept, self._end
        for number in range(start // PAGE, -(-end // PAGE)):
            first, last = max(start, number * PAGE), min(end, (number + 1) * PAGE)
            for page, x in zip(self._pages[number], new, strict=True):
                at = slice(first - number * PAGE, last - number * PAGE)
                page[:, :, at] = x[:, :, first - start : last - start]
        if not start:
            return new
        return tuple(self._joined(lane, end) for lane in range(len(new)))

    def places_of_rows(
        self, like: torch.Tensor, hidden: Sequence[int] | None = None
    ) -> list[Places] | None:
        """Where a kernel puts one new position of each row, and finds those that are kept.

        Args:
            like (Tensor): [b, kv_heads, 1, width], as the new keys and values; only its shape and
                type are looked at.
            hidden: so many of the first positions of each row are not for the kernel; None: no
                row has such.

        Returns:
            a row each; None where they cannot be told so, as here with hidden ones: a page begins
            where it begins.
        """
        if hidden is not None:
            return None
        self._make_room((like, like))
        rows = like.shape[0]
        if len(self._places) != rows or len(self._places[0][0]) != len(self._pages):
            self._places = [
                (self._addresses(0, row), self._addresses(1, row)) for row in range(rows)
            ]
        return [Places(keys, values, PAGE, self._kept) for keys, values in self._places]

    def commit(self) -> None:
        self._kept = self._end

    def reset(self) -> None:
        self._kept = self._end = self._shared = 0
        self._pages, self._places = [], []

    def tensors(self) -> list[torch.Tensor]:
        return [lane for page in self._pages for lane in page]

    def apply(self, change: Change) -> None:
        self._end, self._shared = self._kept, 0
        self._pages = [tuple(map(change, page)) for page in self._pages]
        self._places = []

    def crop(self, length: int, past: int) -> None:
        self._kept = self._end = length
        self._pages = self._pages[: -(-length // PAGE)]
        self._shared = min(self._shared, len(self._pages))
        self._places = []

    def content(self) -> dict[str, torch.Tensor]:
        if not self._pages:
            return {}
        return numbered(self._joined(lane, self._kept) for lane in range(len(self._pages[0])))

    def restore(self, content: Mapping[str, torch.Tensor], length: int) -> None:
        self.reset()
        self.update(*lanes_of(content))

    def copy(self) -> Self:
        """Another store with the same content. No number is copied before one of them goes on."""
        other = type(self)()
        other._kept = other._end = self._kept
        other._pages = self._pages[: -(-self._kept // PAGE)]
        self._shared = max(self._shared, len(other._pages))
        other._shared = len(other._pages)
        return other

    def _make_room(self, new: tuple[torch.Tensor, ...]) -> None:
        """Have pages of its own for new positions."""
        if self._pages:
            require_alike(self._pages[0], new)
        self._end = self._kept + new[0].shape[2]
        first = self._kept // PAGE
        if first < min(self._shared, len(self._pages)):
            self._pages[first] = tuple(lane.clone() for lane in self._pages[first])
            self._shared, self._places = first, []
        while len(self._pages) * PAGE < self._end:
            self._pages.append(tuple(self._page(x) for x in new))

    @staticmethod
    def _page(like: torch.Tensor) -> torch.Tensor:
        batch, heads, _, width = like.shape
        return like.new_zeros(batch, heads, PAGE, width)

    def _joined(self, lane: int, end: int) -> torch.Tensor:
        """A lane's first positions, [b, kv_heads, end, width]."""
        pages = [page[lane] for page in self._pages[: -(-end // PAGE)]]
        return torch.cat(pages, dim=2)[:, :, :end]

    def _addresses(self, lane: int, row: int) -> array[int]:
        pages = [page[lane] for page in self._pages]
        return array(
            "q", [page.data_ptr() + row * page.stride(0) * page.itemsize for page in pages]
        )
