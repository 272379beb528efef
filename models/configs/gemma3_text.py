"""Gemma 3's config, of its text model (transformers: Gemma3TextConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.configs.gemma2 import Gemma2Config
from tfcli.models.configs.rope import read_layer_rope
from tfcli.models.configs.rotary import RotaryConfig
from tfcli.models.configs.windows import FULL, SLIDING, LayerRopeConfig, PatternConfig

# type of layer -> the older key of its base, and the base where a file gives none
BASES = {SLIDING: ("rope_local_base_freq", 10000.0), FULL: ("rope_theta", 1000000.0)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gemma3TextConfig(Gemma2Config, LayerRopeConfig, PatternConfig):
    """Gemma 3 and EmbeddingGemma. Layers with a window have positions of their own.

    With `use_bidirectional_attention` a token sees those after it too, and `sliding_window` counts
    both sides.
    """

    model_type: ClassVar[str] = "gemma3_text"
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        **RotaryConfig.fixed,
        "attn_logit_softcapping": (None,),  # transformers has the key and caps nothing
    }
    default_pattern: ClassVar[int] = 6
    bases = BASES
    slides = PatternConfig.slides  # not as in Gemma 2

    vocab_size: int = 262208
    max_position_embeddings: int = 131072
    final_logit_softcapping: float | None = None
    attn_logit_softcapping: float | None = None
    use_bidirectional_attention: bool | None = False
    rope_parameters: dict[str, Any] = dataclasses.field(
        default_factory=lambda: read_layer_rope({}, BASES)
    )

    @property
    def bidirectional(self) -> bool:
        """Whether a token sees those after it."""
        return bool(self.use_bidirectional_attention)

    def window(self, layer: int) -> int | None:
        window = super().window(layer)
        return window // 2 + 1 if self.bidirectional and window is not None else window
