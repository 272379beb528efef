"""Qwen2's config (transformers: Qwen2Config)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.configs.windows import WindowedConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Qwen2Config(WindowedConfig):
    """Qwen 1.5, 2 and 2.5. With `use_sliding_window` the upper layers have a window."""

    model_type: ClassVar[str] = "qwen2"

    vocab_size: int = 151936
    hidden_size: int = 4096
    intermediate_size: int = 22016
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = 32
    max_position_embeddings: int = 32768
    rms_norm_eps: float = 1e-6
    use_sliding_window: bool = False
    max_window_layers: int = 28

    @property
    def has_windows(self) -> bool:
        return self.use_sliding_window and self.sliding_window is not None

    def slides(self, layer: int) -> bool:
        return self.has_windows and layer >= self.max_window_layers
