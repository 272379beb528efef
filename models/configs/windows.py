"""Configs whose layers differ in how far they look back: some all the way, some a window."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.rope import check_rope, read_layer_rope, write_layer_rope
from tfcli.models.configs.rotary import RotaryConfig
from tfcli.models.errors import ModelError, hint
from tfcli.models.limits import MAX_LAYERS

SLIDING, FULL = "sliding_attention", "full_attention"


def check_window(sliding_window: int | None, key: str = "sliding_window") -> None:
    """Refuse a window that does not hold the query's own key."""
    if sliding_window is not None:
        require(sliding_window >= 1, key, "must be at least 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WindowedConfig(RotaryConfig):
    """`layer_types` says which layers slide; a subclass says what holds where it is missing.

    Class attributes:
        local: what `layer_types` calls a layer with a window.
    """

    local: ClassVar[str] = SLIDING

    sliding_window: int | None = 4096
    layer_types: list[str] | None = None

    def slides(self, layer: int) -> bool:
        """Whether a layer has a window where `layer_types` does not say."""
        return False

    @property
    def has_windows(self) -> bool:
        """Whether the config lets layers slide at all."""
        return self.sliding_window is not None

    def kind(self, layer: int) -> str:
        """A layer's entry in `layer_types`."""
        assert self.layer_types is not None  # complete() fills it in
        return self.layer_types[layer]

    def window(self, layer: int) -> int | None:
        return self.sliding_window if self.kind(layer) == self.local else None

    def complete(self) -> None:
        super().complete()
        if self.layer_types is None:
            # Only as many as are allowed: check() comes later and refuses more.
            layers = range(min(self.num_hidden_layers, MAX_LAYERS))
            kinds = [self.local if self.slides(layer) else FULL for layer in layers]
            object.__setattr__(self, "layer_types", kinds)

    def check(self) -> None:
        super().check()
        check_window(self.sliding_window, self.spelling("sliding_window"))
        kinds = self.layer_types or []
        for kind in kinds:
            if kind not in (self.local, FULL):
                raise ModelError(
                    f"layer_types names {kind!r}, which {self.model_type} does not have",
                    where="config.json, key layer_types",
                    fix=hint(str(kind), (self.local, FULL)),
                )
        require(
            len(kinds) == self.num_hidden_layers,
            "layer_types",
            f"has {len(kinds)} entries for {self.num_hidden_layers} layers",
        )
        require(
            self.has_windows or self.local not in kinds,
            "layer_types",
            f"names {self.local}, but there is no window: see {self.spelling('sliding_window')} "
            "and use_sliding_window",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PatternConfig(WindowedConfig):
    """Every so many layers, one sees all keys. Newer files spell it out in `layer_types`.

    Class attributes:
        default_pattern: every how many, where a file does not say.
    """

    default_pattern: ClassVar[int]

    sliding_window_pattern: int | None = None

    def slides(self, layer: int) -> bool:
        given = self.sliding_window_pattern
        pattern = self.default_pattern if given is None else given
        require(pattern >= 1, "sliding_window_pattern", "must be at least 1")
        return (layer + 1) % pattern != 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerRopeConfig(WindowedConfig):
    """Each type of layer has positions of its own: `rope_parameters` has one mapping for each.

    A subclass that has another base too names this one last: of a field that both have, the default
    of the base that is named first counts.

    Class attributes:
        bases: see `read_layer_rope`.
    """

    bases: ClassVar[Mapping[str, tuple[str | None, float]]]

    @classmethod
    def read_positions(cls, data: dict[str, Any]) -> dict[str, Any]:
        return read_layer_rope(data, cls.bases)

    def write_positions(self) -> dict[str, Any]:
        return write_layer_rope(self.rope_parameters, self.bases)

    def check_positions(self) -> None:
        for rope in self.rope_parameters.values():
            check_rope(rope, self.head_dim)
            partial = rope.get("partial_rotary_factor", 1.0)
            require(partial == 1.0, "partial_rotary_factor", f"is {partial}; supported: 1.0")

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        return tuple(sorted({*super().keys(), *(key for key, _ in cls.bases.values() if key)}))


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoPositionsConfig(WindowedConfig):
    """Every so many layers, one has no positions.

    `no_rope_layers` is what its name does not say: 1 for a layer that rotates, 0 for one that
    does not.
    """

    no_rope_layers: list[int] | None = None
    no_rope_layer_interval: int = 4

    def rotates(self, layer: int) -> bool:
        """Whether a layer has positions."""
        assert self.no_rope_layers is not None  # complete() fills it in
        return bool(self.no_rope_layers[layer])

    def complete(self) -> None:
        layers = range(min(self.num_hidden_layers, MAX_LAYERS))
        if self.no_rope_layers is None:
            interval = self.no_rope_layer_interval
            require(interval >= 1, "no_rope_layer_interval", "must be at least 1")
            rotating = [int((layer + 1) % interval != 0) for layer in layers]
            object.__setattr__(self, "no_rope_layers", rotating)
        rotating = self.no_rope_layers or []
        require(
            len(rotating) >= len(layers) and all(entry in (0, 1) for entry in rotating),
            "no_rope_layers",
            f"must have a 0 or 1 for each of the {len(layers)} layers",
        )
        super().complete()
