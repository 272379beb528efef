"""Configs of decoders in which some layers attend and others carry a state or convolve."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.config import require
from tfcli.models.configs.rotary import RotaryConfig
from tfcli.models.configs.windows import FULL
from tfcli.models.errors import ModelError, hint
from tfcli.models.limits import MAX_LAYERS

LINEAR = "linear_attention"


@dataclasses.dataclass(frozen=True, kw_only=True)
class HybridConfig(RotaryConfig):
    """`layer_types` says what each layer is; a subclass says what holds where it is missing.

    Class attributes:
        kinds: what a layer can be.
        attending: those of them that keep keys and values.
    """

    kinds: ClassVar[tuple[str, ...]] = (LINEAR, FULL)
    attending: ClassVar[tuple[str, ...]] = (FULL,)

    layer_types: list[str] | None = None

    def default_kind(self, layer: int) -> str:
        """What a layer is where `layer_types` does not say."""
        raise TypeError(f"{type(self).__name__} defines no default_kind")

    def kind(self, layer: int) -> str:
        """A layer's entry in `layer_types`."""
        assert self.layer_types is not None  # complete() fills it in
        return self.layer_types[layer]

    @property
    def cached_layers(self) -> int:
        return sum(kind in self.attending for kind in self.layer_types or [])

    def complete(self) -> None:
        super().complete()
        if self.layer_types is None:
            # Only as many as are allowed: check() comes later and refuses more.
            layers = range(min(self.num_hidden_layers, MAX_LAYERS))
            kinds = [self.default_kind(layer) for layer in layers]
            object.__setattr__(self, "layer_types", kinds)

    def check(self) -> None:
        super().check()
        kinds = self.layer_types or []
        for kind in kinds:
            if kind not in self.kinds:
                raise ModelError(
                    f"layer_types names {kind!r}, which {self.model_type} does not have",
                    where="config.json, key layer_types",
                    fix=hint(str(kind), self.kinds),
                )
        require(
            len(kinds) == self.num_hidden_layers,
            "layer_types",
            f"has {len(kinds)} entries for {self.num_hidden_layers} layers",
        )
