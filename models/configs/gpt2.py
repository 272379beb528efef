"""GPT-2's config (transformers: GPT2Config)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.configs.gpt import GPTConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class GPT2Config(GPTConfig):
    """GPT-2 and checkpoints of its shape."""

    model_type: ClassVar[str] = "gpt2"

    vocab_size: int = 50257
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    max_position_embeddings: int = 1024
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    # Asks for float32 attention scores, which every backend computes anyway.
    reorder_and_upcast_attn: bool = False

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        data.pop("n_ctx", None)  # an older name for n_positions, never read by anything
        return data

    def attention_scale(self, layer: int) -> float:
        """The factor on one layer's attention scores."""
        scale = self.head_dim**-0.5 if self.scale_attn_weights else 1.0
        return scale / (layer + 1) if self.scale_attn_by_inverse_layer_idx else scale
