"""SmolLM3's config (transformers: SmolLM3Config)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.configs.windows import NoPositionsConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class SmolLM3Config(NoPositionsConfig):
    """SmolLM3. A layer that has no positions may have a window."""

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
    pad_token_id: int | None = 128004
    bos_token_id: int | None = 128000
    eos_token_id: int | list[int] | None = 128001

    @property
    def has_windows(self) -> bool:
        return self.use_sliding_window and self.sliding_window is not None

    def slides(self, layer: int) -> bool:
        return self.has_windows and not self.rotates(layer)
