"""Caches: what a model remembers from one forward pass to the next, one store a layer."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tfcli.models.caches.stores import FixedStore, GrowingStore, Pair, SlidingStore, Store
from tfcli.models.config import ModelConfig


class Cache:
    """Earlier keys and values, the encoder's, and the state of recurrent layers.

    Args:
        store: makes the store of a layer, counted from 0, when the layer first asks.

    Attributes:
        length: positions seen so far. The head moves it on after each forward pass.
        crossed: layer -> keys and values of the encoder's states, which stay the same.
        states: layer -> named tensors that a recurrent layer carries on.
    """

    def __init__(self, store: Callable[[int], Store]) -> None:
        self._store = store
        self.length = 0
        self.stores: dict[int, Store] = {}
        self.crossed: dict[int, Pair] = {}
        self.states: dict[int, dict[str, torch.Tensor]] = {}

    def kept(self, layer: int) -> int:
        """How many earlier positions a layer still holds."""
        return self.stores[layer].kept if layer in self.stores else 0

    def update(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> Pair:
        """Store new positions of one layer; see `Store.update`."""
        if layer not in self.stores:
            self.stores[layer] = self._store(layer)
        return self.stores[layer].update(key, value)

    def reset(self) -> None:
        """Forget everything, keep the memory of the stores."""
        self.length = 0
        self.crossed.clear()
        self.states.clear()
        for store in self.stores.values():
            store.reset()


class DynamicCache(Cache):
    """Grows with each call.

    Args:
        config: says which layers see a window only, and so need not be kept whole. Without it
            every layer is.
    """

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__(lambda layer: _windowed(config, layer) or GrowingStore())


class StaticCache(Cache):
    """Allocated once; new positions are written in place, so a step copies nothing old.

    Args:
        max_length: positions that fit.
        config: says which layers see a window only, and so need no more than that.
    """

    def __init__(self, max_length: int, config: ModelConfig | None = None) -> None:
        self.max_length = max_length
        super().__init__(
            lambda layer: _windowed(config, layer, max_length) or FixedStore(max_length)
        )


def _windowed(
    config: ModelConfig | None, layer: int, max_length: int | None = None
) -> SlidingStore | None:
    window = None if config is None else config.window(layer)
    if window is None or (max_length is not None and window >= max_length):
        return None
    return SlidingStore(window)
