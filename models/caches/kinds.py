"""Kinds of cache: which store each kind of layer gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from tfcli.models.caches.fixed import FixedSlidingStore, FixedStore
from tfcli.models.caches.growing import GrowingStore, OffloadedStore
from tfcli.models.caches.paged import PagedStore
from tfcli.models.caches.quantized import QuantizedStore, check_settings
from tfcli.models.caches.recurrent import ShiftStore, SourceStore, StateStore
from tfcli.models.caches.sinks import SinkStore
from tfcli.models.caches.sliding import SlidingStore
from tfcli.models.caches.stores import Store
from tfcli.models.errors import ModelError, hint
from tfcli.models.layers.rotary import Rotary


@dataclass(frozen=True)
class Dynamic:
    """Grows with each pass. A layer answers with the store that it wants of these.

    Layers that see a window only are kept no longer than that, and exactly: they hold little.
    """

    def keys(
        self, *, window: int | None = None, rotary: Rotary | None = None, plain: int = 0
    ) -> Store:
        """A store of keys and values of the text itself.

        Args:
            window: keys that a query sees, its own among them; None: all before it.
            rotary: how keys are turned; None if they have no rotary positions.
            plain: first dimensions of a key that are not turned.

        Raises:
            ModelError: a layer that this kind of cache cannot serve.
        """
        return self.whole() if window is None else SlidingStore(window)

    def whole(self) -> Store:
        """A store of every position."""
        return GrowingStore()

    def state(self) -> StateStore:
        """A store of a recurrent layer's or a convolution's state."""
        return StateStore()

    def shift(self) -> ShiftStore:
        """A store of how far positions are from the number of tokens."""
        return ShiftStore()

    def source(self) -> SourceStore:
        """A store of keys and values of the encoder's states."""
        return SourceStore()


@dataclass(frozen=True)
class Static(Dynamic):
    """Allocated once, of fixed shape; see `FixedStore`.

    Args:
        length: positions that fit.
        position (Tensor): int64 [], 0; on the device of the model.
    """

    length: int
    position: torch.Tensor

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ModelError(f"a static cache needs a length of at least 1, not {self.length}")

    def keys(
        self, *, window: int | None = None, rotary: Rotary | None = None, plain: int = 0
    ) -> Store:
        if window is None or window >= self.length:
            return FixedStore(self.position, self.length)
        return FixedSlidingStore(self.position, self.length, window)

    def state(self) -> StateStore:
        return StateStore(fixed=True)

    def shift(self) -> ShiftStore:
        return ShiftStore(fixed=True)


@dataclass(frozen=True)
class Paged(Dynamic):
    """Grows by pages, which copies of the cache share; see `PagedStore`."""

    def whole(self) -> Store:
        return PagedStore()


@dataclass(frozen=True)
class Quantized(Dynamic):
    """Grows with each pass; old positions take 8 or 4 bits for each number.

    The arguments are those of `QuantizedStore`.
    """

    bits: int = 8
    group_size: int = 64
    residual: int = 128
    rotated: bool = True

    def __post_init__(self) -> None:
        check_settings(self.bits, self.group_size, self.residual)

    def whole(self) -> Store:
        return QuantizedStore(self.bits, self.group_size, self.residual, self.rotated)


@dataclass(frozen=True)
class Offloaded(Dynamic):
    """Grows with each pass, on another device; each layer's part is brought back when it runs.

    Args:
        device: where keys and values stay.
    """

    device: torch.device | str = "cpu"

    def whole(self) -> Store:
        return OffloadedStore(self.device)


@dataclass(frozen=True)
class Sinks(Dynamic):
    """Of any text the beginning and the last positions, see `SinkStore`.

    Args:
        window: keys that a query sees, its own among them; and no more than the layer's own.
        sinks: positions of the beginning that it sees beside them.
    """

    window: int = 1024
    sinks: int = 4

    def __post_init__(self) -> None:
        for name in ("window", "sinks"):
            if getattr(self, name) < 1:
                raise ModelError(f"{name} must be at least 1, not {getattr(self, name)}")

    def keys(
        self, *, window: int | None = None, rotary: Rotary | None = None, plain: int = 0
    ) -> Store:
        if rotary is None or rotary.rope["rope_type"] in ("dynamic", "longrope"):
            raise ModelError(
                "a sink cache needs rotary positions that do not change with the length of a text",
                fix="use a dynamic cache",
            )
        return SinkStore(self.sinks, min(self.window, window or self.window), rotary, plain)


KINDS: dict[str, type[Dynamic]] = {
    "dynamic": Dynamic,
    "static": Static,
    "paged": Paged,
    "quantized": Quantized,
    "offloaded": Offloaded,
    "sink": Sinks,
}


def make_kind(
    name: str, length: int | None, device: torch.device, settings: dict[str, Any]
) -> Dynamic:
    """The kind of a name.

    Args:
        name: one of `KINDS`.
        length: positions of the text, which a static cache must know.
        device: of the model.
        settings: the kind's own, by name.

    Raises:
        ModelError: an unknown name or setting, one that cannot be, or a static cache without
            length.
    """
    if name not in KINDS:
        raise ModelError(f"unknown kind of cache {name!r}", fix=hint(name, KINDS))
    if name == "static":
        if length is None:
            raise ModelError("a static cache needs a length", fix="say how many positions fit")
        settings = {**settings, "length": length, "position": torch.zeros((), dtype=torch.long)}
        settings["position"] = settings["position"].to(device)
    known = tuple(KINDS[name].__dataclass_fields__)
    for each in settings:
        if each not in known:
            raise ModelError(f"a {name} cache has no setting {each!r}", fix=hint(each, known))
    return KINDS[name](**settings)
