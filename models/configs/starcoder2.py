"""StarCoder2's config (transformers: Starcoder2Config)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.rotary import RotaryConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Starcoder2Config(RotaryConfig):
    """StarCoder2."""

    model_type: ClassVar[str] = "starcoder2"
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        "partial_rotary_factor": (1.0, None),
        "norm_type": ("layer_norm", None),  # named in checkpoints, never varied
        "mlp_type": ("default", None),
    }

    vocab_size: int = 49152
    hidden_size: int = 3072
    intermediate_size: int = 12288
    num_hidden_layers: int = 30
    num_attention_heads: int = 24
    num_key_value_heads: int = 2
    hidden_act: str = "gelu_pytorch_tanh"
    max_position_embeddings: int = 4096
    initializer_range: float = 0.018042
    tie_word_embeddings: bool = True
    norm_epsilon: float = 1e-5
    use_bias: bool = True
    sliding_window: int | None = None
    residual_dropout: float = 0.0
    embedding_dropout: float = 0.0
    bos_token_id: int | None = 50256
    eos_token_id: int | list[int] | None = 50256

    def window(self, layer: int) -> int | None:
        return self.sliding_window

    def check(self) -> None:
        super().check()
        if self.sliding_window is not None:
            require(self.sliding_window >= 1, "sliding_window", "must be at least 1")
        for key in ("residual_dropout", "embedding_dropout"):
            require(0 <= getattr(self, key) < 1, key, "must be in [0, 1)")
