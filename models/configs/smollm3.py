"""SmolLM3's config (transformers: SmolLM3Config)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.config import require
from tfcli.models.configs.windows import WindowedConfig
from tfcli.models.limits import MAX_LAYERS


@dataclasses.dataclass(frozen=True, kw_only=True)
class SmolLM3Config(WindowedConfig):
    """SmolLM3. Every so many layers, one has no positions; such a layer may have a window.

    `no_rope_layers` is what its name does not say: 1 for a layer that rotates, 0 for one that
    does not.
    """

    model_type: ClassVar[str] = "smollm3"
    default_theta: ClassVar[float] = 2000000.0

    vocab_size: int = 128256
    hidden_size: int = 2048
    intermediate_size: int = 11008
    num_hidden_layers: int = 36
    num_attention_heads: int = 16
    num_key_value_heads: int = 4
    max_position_embeddings: int = 32768
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = True
    attention_bias: bool = False
    mlp_bias: bool = False
    use_sliding_window: bool = False
    sliding_window: int | None = None
    no_rope_layers: list[int] | None = None
    no_rope_layer_interval: int = 4
    pad_token_id: int | None = 128004
    bos_token_id: int | None = 128000
    eos_token_id: int | list[int] | None = 128001

    @property
    def has_windows(self) -> bool:
        return self.use_sliding_window and self.sliding_window is not None

    def rotates(self, layer: int) -> bool:
        """Whether a layer has positions."""
        assert self.no_rope_layers is not None  # complete() fills it in
        return bool(self.no_rope_layers[layer])

    def slides(self, layer: int) -> bool:
        return self.has_windows and not self.rotates(layer)

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
