"""BitNet's config (transformers: BitNetConfig)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.config import require
from tfcli.models.configs.rotary import RotaryConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class BitNetConfig(RotaryConfig):
    """BitNet b1.58 2B4T, with weights that are not packed."""

    model_type: ClassVar[str] = "bitnet"
    default_theta: ClassVar[float] = 500000.0

    vocab_size: int = 128256
    hidden_size: int = 2560
    intermediate_size: int = 6912
    num_hidden_layers: int = 30
    num_attention_heads: int = 20
    num_key_value_heads: int = 5
    hidden_act: str = "relu2"
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-5
    attention_bias: bool = False
    bos_token_id: int | None = 128000
    eos_token_id: int | list[int] | None = 128001

    def check(self) -> None:
        super().check()
        width = self.head_dim * self.num_attention_heads
        require(
            width == self.hidden_size,
            "head_dim",
            f"times num_attention_heads is {width}, not hidden_size ({self.hidden_size})",
        )
