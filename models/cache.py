"""Caches: what a model remembers from one forward pass to the next, one store a layer."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from tfcli.models.caches.files import read_cache, write_cache
from tfcli.models.caches.kinds import Static, make_kind
from tfcli.models.caches.layers import CachingLayer
from tfcli.models.caches.recurrent import SourceStore
from tfcli.models.caches.stores import Store, held
from tfcli.models.errors import ModelError

Slot = tuple[int, str]
"""Number of the block, and which of its stores; see `CachingLayer`."""


class Cache:
    """The stores of a model, and how many positions they have seen. `make_cache` makes one.

    Args:
        stores: where each layer finds its own.
        device: where the model computes.
        position (Tensor): int64 [], which stores of fixed shape share; None where a number will do.
        capacity: positions that fit; None: any number.

    Attributes:
        past (int | Tensor): positions seen so far, virtual ones too.
        virtual: of these, the first ones, which no text has; see `adapters.prompts`.
    """

    def __init__(
        self,
        stores: dict[Slot, Store],
        device: torch.device,
        position: torch.Tensor | None = None,
        capacity: int | None = None,
    ) -> None:
        self.stores = stores
        self.device = device
        self.capacity = capacity
        self.past: int | torch.Tensor = 0 if position is None else position
        self.virtual = 0

    @property
    def length(self) -> int:
        """Positions of the text seen so far. Of a static cache it is read from the device."""
        return int(self.past) - self.virtual

    @property
    def rows(self) -> int | None:
        """How many texts it holds; None while it is empty."""
        return next((x.shape[0] for each in self.stores.values() for x in each.tensors()), None)

    @property
    def nbytes(self) -> int:
        """Memory that it holds, of all layers."""
        return held(x for store in self.stores.values() for x in store.tensors())

    @property
    def source(self) -> tuple[torch.Tensor, ...]:
        """Keys and values [b, heads, k, width] that a layer made of the encoder's states, if any
        has."""
        stores = (store for store in self.stores.values() if isinstance(store, SourceStore))
        return next((store.pair for store in stores), ())

    def store(self, layer: int, slot: str = "attention") -> Store:
        """A layer's store.

        Raises:
            ModelError: the cache was made for another model.
        """
        found = self.stores.get((layer, slot))
        if found is None:
            raise ModelError(
                f"the cache has no {slot} of layer {layer}: it was made for another model",
                fix="make it with model.make_cache",
            )
        return found

    def kept(self, layer: int) -> int:
        """How many earlier positions a layer still holds."""
        return self.store(layer).kept

    def advance(self, new: int) -> None:
        """End a forward pass of so many positions: what its layers gave counts from now on.

        A head calls it as its last step. A pass that fails before leaves the cache as it was.
        """
        for store in self.stores.values():
            store.commit()
        if isinstance(self.past, torch.Tensor):
            self.past.add_(new)
        else:
            self.past += new

    def reset(self) -> None:
        """Forget everything, and the sources too."""
        for store in self.stores.values():
            store.reset()
        self._set(0)
        self.virtual = 0

    def crop(self, length: int) -> None:
        """Forget what came after the first `length` positions, as after a draft that was refused.

        Raises:
            ModelError: there are fewer, or a layer no longer has what it needs for that. Nothing
                is forgotten then.
        """
        past = self.length
        if not 0 <= length <= past:
            raise ModelError(f"the cache holds {past} positions and cannot be cropped to {length}")
        kept, held = length + self.virtual, past + self.virtual
        for (layer, _), store in self.stores.items():
            reason = store.why_not(kept, held)
            if reason is not None:
                raise ModelError(
                    f"the cache cannot be cropped from {past} to {length} positions: {reason}",
                    where=f"layer {layer}",
                    fix="keep a copy of the cache from before",
                )
        for store in self.stores.values():
            store.crop(kept, held)
        self._set(kept)

    def select(self, rows: torch.Tensor) -> None:
        """Keep these rows in this order; they may repeat, and be more or fewer than before.

        Args:
            rows (Tensor): int64 [n]

        Raises:
            ModelError: a row that there is not.
        """
        self._check_rows(rows)
        for store in self.stores.values():
            store.select(rows)

    def reorder(self, rows: torch.Tensor) -> None:
        """The same for as many rows as there are, for beams: a static cache stays in its place.

        Raises:
            ModelError: a row that there is not, or another number of rows.
        """
        self._check_rows(rows)
        if self.rows is not None and len(rows) != self.rows:
            raise ModelError(
                f"{len(rows)} rows cannot be a new order of {self.rows}", fix="use select"
            )
        for store in self.stores.values():
            store.reorder(rows)

    def copy(self) -> Self:
        """Another cache with the same content, which goes its own way."""
        other = copy.copy(self)
        other.stores = {slot: store.copy() for slot, store in self.stores.items()}
        if isinstance(self.past, torch.Tensor):
            other.past = self.past.clone()
            for store in other.stores.values():
                if hasattr(store, "position"):
                    store.position = other.past
        return other

    def save(self, path: Path, **notes: str) -> None:
        """Write the content to a safetensors file.

        Args:
            path: of the file.
            notes: what else the file says, such as the text or the model's name. A cache knows
                nothing of weights: that a file belongs to these is the caller's to see.

        Raises:
            ModelError: it holds virtual tokens.
        """
        if self.virtual:
            raise ModelError(
                "the cache holds virtual tokens of an adapter, and files keep those of texts",
                fix="read the text again",
            )
        write_cache(path, self.stores, self.length, notes)

    def load(self, path: Path) -> dict[str, str]:
        """Take the content of a file in place of the own; the kind of cache may be another one.

        Returns:
            the notes that it was written with

        Raises:
            ModelError: no such file, one of another model's layers, or one that holds less than
                this kind of cache needs.
        """
        content = read_cache(path, self.stores, self.capacity, self.device)
        self.reset()
        for slot, tensors in content.tensors.items():
            self.stores[slot].restore(tensors, content.length)
        self.advance(content.length)
        return content.notes

    def _set(self, length: int) -> None:
        if isinstance(self.past, torch.Tensor):
            self.past.fill_(length)
        else:
            self.past = length

    def _check_rows(self, rows: torch.Tensor) -> None:
        have = self.rows
        if rows.ndim != 1 or rows.dtype not in (torch.int64, torch.int32) or not len(rows):
            raise ModelError("rows must be a list of row numbers, int64 [n]")
        if have is not None and not 0 <= int(rows.min()) <= int(rows.max()) < have:
            raise ModelError(f"the cache has rows 0 to {have - 1}, but {rows.tolist()} are asked")


def make_cache(
    model: nn.Module, kind: str = "dynamic", length: int | None = None, **settings: Any
) -> Cache:
    """An empty cache, in which each layer has the store that it asks for.

    Args:
        model: or a part of one.
        kind: `dynamic` grows by doubling. `static` is allocated once and has a fixed shape, so
            that a step can be compiled. `paged` grows by pages that copies share, and may be
            joined with others in a pass (`joined_cache`). `quantized` keeps old positions in few
            bits, `offloaded` keeps them on another device. `sink` keeps the beginning and the last
            positions.
            A layer that sees a window only keeps no more than that.
        length: positions that the text will have; needed by `static`, of no use to the others.
        settings: those of the kind, see `caches.kinds`: `bits`, `group_size` and `residual` of
            quantized ones, `device` of offloaded ones, `window` and `sinks` of sink caches.

    Raises:
        ModelError: a kind, a length or a setting that cannot be, or a layer that goes with no
            cache or not with this one.
    """
    parameter = next(model.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    made = make_kind(kind, length, device, settings)
    stores: dict[Slot, Store] = {}
    for layer in model.modules():
        if isinstance(layer, CachingLayer):
            store = layer.make_store(made)
            if store is not None:
                slot = (layer.layer, layer.slot)
                if slot in stores:
                    raise TypeError(f"two layers want to be {slot} in the cache")
                stores[slot] = store
    if isinstance(made, Static):
        return Cache(stores, device, made.position, made.length)
    return Cache(stores, device)
