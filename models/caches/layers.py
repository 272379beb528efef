"""What a layer that remembers has in common with the others: it says which store it wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from tfcli.models.caches.kinds import Dynamic
from tfcli.models.caches.recurrent import StateStore
from tfcli.models.caches.stores import Store
from tfcli.models.layers.rotary import Rotary

if TYPE_CHECKING:
    from tfcli.models.context import Context


class CachingLayer(nn.Module):
    """A layer with a store in the cache.

    `make_cache` asks every one that a model has, so a backbone may mix layers as it likes.

    Class attributes:
        slot: tells the stores of a block apart, where it has several.

    Attributes:
        layer: number of the block; with `slot` the place in the cache.
    """

    slot: ClassVar[str] = "attention"
    layer: int

    def make_store(self, kind: Dynamic) -> Store | None:
        """The store that the layer wants of a kind of cache; None if it remembers nothing.

        Raises:
            ModelError: the layer cannot work with a cache, or not with this kind.
        """
        raise TypeError(f"{type(self).__name__} defines no make_store")


class KeyValueLayer(CachingLayer):
    """Attention to earlier positions of the same text.

    Class attributes, which an object may have of its own:
        window: keys that a query sees, its own among them; None: all before it.
        rotary: how keys are turned; None: they are not.
    """

    window: int | None = None
    rotary: Rotary | None = None

    def make_store(self, kind: Dynamic) -> Store | None:
        return kind.keys(window=self.window, rotary=self.rotary)


class RecurrentLayer(CachingLayer):
    """A recurrence, or a convolution over the last positions."""

    slot = "state"

    def make_store(self, kind: Dynamic) -> Store | None:
        return kind.state()

    def carried(self, context: Context) -> dict[str, torch.Tensor]:
        """The state after the position before; empty at the start and without a cache."""
        store = context.store(self.layer, self.slot)
        if store is None:
            return {}
        assert isinstance(store, StateStore)
        return store.state

    def carry_on(self, context: Context, **state: torch.Tensor) -> None:
        """Leave the whole state for the next positions."""
        store = context.store(self.layer, self.slot)
        if store is not None:
            assert isinstance(store, StateStore)
            store.carry_on(**state)
