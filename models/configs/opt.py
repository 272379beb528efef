"""OPT's config (transformers: OPTConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require, require_activation, require_divides
from tfcli.models.configs.text import TextConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class OPTConfig(TextConfig):
    """OPT, Galactica and checkpoints of their shape."""

    model_type: ClassVar[str] = "opt"
    aliases: ClassVar[dict[str, str]] = {
        "ffn_dim": "intermediate_size",
        "init_std": "initializer_range",
        "_remove_final_layer_norm": "remove_final_layer_norm",
    }
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {"layerdrop": (0, None)}

    vocab_size: int = 50272
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    activation_function: str = "relu"
    max_position_embeddings: int = 2048
    word_embed_proj_dim: int = 0  # 0: hidden_size
    do_layer_norm_before: bool = True
    remove_final_layer_norm: bool = False
    enable_bias: bool = True
    layer_norm_elementwise_affine: bool = True
    dropout: float = 0.1
    attention_dropout: float = 0.0
    pad_token_id: int | None = 1
    bos_token_id: int | None = 2
    eos_token_id: int | list[int] | None = 2

    @property
    def final_norm(self) -> bool:
        """Whether a norm follows the last block."""
        return self.do_layer_norm_before and not self.remove_final_layer_norm

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        if data.get("word_embed_proj_dim", 0) is None:
            del data["word_embed_proj_dim"]
        return data

    def complete(self) -> None:
        if self.word_embed_proj_dim == 0:
            object.__setattr__(self, "word_embed_proj_dim", self.hidden_size)

    def check(self) -> None:
        super().check()
        require_divides(
            self.num_attention_heads, self.hidden_size, "num_attention_heads", "hidden_size"
        )
        require(self.intermediate_size >= 1, "ffn_dim", "must be at least 1")
        require(self.word_embed_proj_dim >= 1, "word_embed_proj_dim", "must be at least 1")
        require_activation(self.activation_function, "activation_function")
        for key in ("dropout", "attention_dropout"):
            require(0 <= getattr(self, key) < 1, key, "must be in [0, 1)")
