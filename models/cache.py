"""Caches: what a model remembers from one forward pass to the next, one store a layer."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tfcli.models.caches.offloaded import OffloadedStore
from tfcli.models.caches.quantized import QuantizedStore, check_settings
from tfcli.models.caches.stores import (
    FixedStore,
    GrowingStore,
    Pair,
    SlidingStore,
    Store,
    held,
)
from tfcli.models.configs.text import TextConfig


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

    @property
    def nbytes(self) -> int:
        """Memory that it holds, of all layers."""
        crossed = [tensor for pair in self.crossed.values() for tensor in pair]
        states = [tensor for layer in self.states.values() for tensor in layer.values()]
        return sum(store.nbytes for store in self.stores.values()) + held([*crossed, *states])

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

    def __init__(self, config: TextConfig | None = None) -> None:
        super().__init__(lambda layer: _windowed(config, layer) or GrowingStore())


class StaticCache(Cache):
    """Allocated once; new positions are written in place, so a step copies nothing old.

    Args:
        max_length: positions that fit.
        config: says which layers see a window only, and so need no more than that.
    """

    def __init__(self, max_length: int, config: TextConfig | None = None) -> None:
        self.max_length = max_length
        super().__init__(
            lambda layer: _windowed(config, layer, max_length) or FixedStore(max_length)
        )


class QuantizedCache(Cache):
    """Grows with each call; old positions take 8 or 4 bits for each number.

    Layers that see a window only are kept exactly: they hold little.

    Args:
        config: as in `DynamicCache`.
        bits: 8 or 4.
        group_size: dimensions of a head that share a scale.
        residual: so many of the newest positions are exact; see `QuantizedStore`.

    Raises:
        ModelError: a setting that cannot be.
    """

    def __init__(
        self,
        config: TextConfig | None = None,
        bits: int = 8,
        group_size: int = 64,
        residual: int = 128,
    ) -> None:
        check_settings(bits, group_size, residual)
        super().__init__(
            lambda layer: _windowed(config, layer) or QuantizedStore(bits, group_size, residual)
        )


class OffloadedCache(Cache):
    """Grows with each call, on another device; each layer's part is brought back when it runs.

    Layers that see a window only stay where they are computed: they hold little.

    Args:
        config: as in `DynamicCache`.
        device: where keys and values stay.
    """

    def __init__(
        self, config: TextConfig | None = None, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(lambda layer: _windowed(config, layer) or OffloadedStore(device))


def _windowed(
    config: TextConfig | None, layer: int, max_length: int | None = None
) -> SlidingStore | None:
    window = None if config is None else config.window(layer)
    if window is None or (max_length is not None and window >= max_length):
        return None
    return SlidingStore(window)
