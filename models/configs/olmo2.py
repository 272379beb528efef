"""OLMo 2's config (transformers: Olmo2Config)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.configs.rotary import RotaryConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Olmo2Config(RotaryConfig):
    """OLMo 2."""

    model_type: ClassVar[str] = "olmo2"
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        "clip_qkv": (None,),  # OLMo 1 has it
        "partial_rotary_factor": (1.0, None),
    }

    vocab_size: int = 50304
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-5
    attention_bias: bool = False
    pad_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 50279
