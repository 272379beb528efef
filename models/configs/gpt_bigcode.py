"""GPTBigCode's config (transformers: GPTBigCodeConfig)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.configs.gpt import GPTConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class GPTBigCodeConfig(GPTConfig):
    """SantaCoder and StarCoder."""

    model_type: ClassVar[str] = "gpt_bigcode"

    vocab_size: int = 50257
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    max_position_embeddings: int = 1024
    activation_function: str = "gelu_pytorch_tanh"
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    scale_attn_weights: bool = True
    multi_query: bool = True

    @property
    def num_key_value_heads(self) -> int:
        return 1 if self.multi_query else self.num_attention_heads
