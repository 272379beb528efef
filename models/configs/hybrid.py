"""Configs of decoders in which some layers attend and others carry a state or convolve."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

from tfcli.models.config import require, require_divides
from tfcli.models.configs.mamba import check_step_limit
from tfcli.models.configs.rotary import RotaryConfig
from tfcli.models.configs.windows import FULL
from tfcli.models.errors import ModelError, hint
from tfcli.models.limits import MAX_LAYERS

LINEAR = "linear_attention"
OLDER = {"mamba": LINEAR, "attention": FULL}
"""How entries of `layer_types` were spelt before."""


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

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        if isinstance(data.get("layer_types"), list):
            kinds = data["layer_types"]
            data["layer_types"] = [OLDER.get(x, x) if isinstance(x, str) else x for x in kinds]
        return super().read_keys(data)

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mamba2LayersConfig(RotaryConfig):
    """The keys of Mamba 2's state spaces in a decoder that has attention too."""

    mamba_n_heads: int = 128
    mamba_d_head: int | str = "auto"
    mamba_n_groups: int = 1
    mamba_d_state: int = 256
    mamba_d_conv: int = 4
    mamba_expand: int = 2
    mamba_chunk_size: int = 256
    mamba_conv_bias: bool = True
    mamba_proj_bias: bool = False
    time_step_limit: list[float] = dataclasses.field(default_factory=lambda: [0.0, math.inf])

    @property
    def mamba_inner(self) -> int:
        """Channels of a state space."""
        return self.mamba_expand * self.hidden_size

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        if isinstance(data.get("time_step_limit"), tuple):
            data["time_step_limit"] = list(data["time_step_limit"])
        return super().read_keys(data)

    def complete(self) -> None:
        super().complete()
        if self.mamba_d_head == "auto" and self.mamba_n_heads >= 1:
            object.__setattr__(self, "mamba_d_head", self.mamba_inner // self.mamba_n_heads)

    def check(self) -> None:
        super().check()
        self.check_sizes("mamba_n_heads", "mamba_n_groups", "mamba_d_state", "mamba_expand")
        self.check_sizes("mamba_chunk_size")
        require(self.mamba_d_conv >= 2, "mamba_d_conv", "must be at least 2")
        width = self.mamba_d_head
        require(
            isinstance(width, int) and self.mamba_n_heads * width == self.mamba_inner,
            "mamba_n_heads",
            f"times mamba_d_head ({width}) must be the {self.mamba_inner} channels",
        )
        require_divides(self.mamba_n_groups, self.mamba_n_heads, "mamba_n_groups", "mamba_n_heads")
        check_step_limit(self.time_step_limit)
