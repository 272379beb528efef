"""StableLM's config (transformers: StableLmConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.rotary import RotaryConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class StableLmConfig(RotaryConfig):
    """StableLM 3B and StableLM 2."""

    model_type: ClassVar[str] = "stablelm"
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {}
    default_partial: ClassVar[float | None] = 0.25

    vocab_size: int = 50304
    hidden_size: int = 2560
    intermediate_size: int = 6912
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = 32
    max_position_embeddings: int = 4096
    layer_norm_eps: float = 1e-5
    use_qkv_bias: bool = False
    qk_layernorm: bool = False
    use_parallel_residual: bool = False
    hidden_dropout: float = 0.0
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 0

    @property
    def head_dropout(self) -> float:
        dropout = self.classifier_dropout
        return self.hidden_dropout if dropout is None else dropout

    def check(self) -> None:
        super().check()
        width = self.head_dim * self.num_attention_heads
        require(
            width == self.hidden_size,
            "head_dim",
            f"times num_attention_heads is {width}, not hidden_size ({self.hidden_size})",
        )
        require(0 <= self.hidden_dropout < 1, "hidden_dropout", "must be in [0, 1)")
