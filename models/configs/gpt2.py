"""GPT-2's config (transformers: GPT2Config)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import ModelConfig, require, require_activation, require_divides


@dataclasses.dataclass(frozen=True, kw_only=True)
class GPT2Config(ModelConfig):
    """GPT-2 and checkpoints of its shape. `n_embd` and its like are read and written."""

    model_type: ClassVar[str] = "gpt2"
    aliases: ClassVar[dict[str, str]] = {
        "n_positions": "max_position_embeddings",
        "n_embd": "hidden_size",
        "n_layer": "num_hidden_layers",
        "n_head": "num_attention_heads",
    }
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {"add_cross_attention": (False, None)}

    vocab_size: int = 50257
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    max_position_embeddings: int = 1024
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    # Asks for float32 attention scores, which every backend computes anyway.
    reorder_and_upcast_attn: bool = False
    bos_token_id: int | None = 50256
    eos_token_id: int | list[int] | None = 50256

    @property
    def intermediate_size(self) -> int:
        """Width of the mlp."""
        return 4 * self.hidden_size if self.n_inner is None else self.n_inner

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        data.pop("n_ctx", None)  # an older name for n_positions, never read by anything
        return data

    def check(self) -> None:
        super().check()
        require_divides(self.num_attention_heads, self.hidden_size, "n_head", "n_embd")
        require(self.intermediate_size >= 1, "n_inner", "must be at least 1")
        require_activation(self.activation_function, "activation_function")
        for key in ("resid_pdrop", "embd_pdrop", "attn_pdrop"):
            require(0 <= getattr(self, key) < 1, key, "must be in [0, 1)")

    def attention_scale(self, layer: int) -> float:
        """The factor on one layer's attention scores."""
        scale = self.head_dim**-0.5 if self.scale_attn_weights else 1.0
        return scale / (layer + 1) if self.scale_attn_by_inverse_layer_idx else scale
