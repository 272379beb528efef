"""Gemma 2's config (transformers: Gemma2Config)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.windows import WindowedConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gemma2Config(WindowedConfig):
    """Gemma 2. Every other layer has a window; attention scores and logits are capped."""

    model_type: ClassVar[str] = "gemma2"
    # Files have both, with one value; transformers reads the first.
    aliases: ClassVar[dict[str, str]] = {"hidden_activation": "hidden_act"}
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        **WindowedConfig.fixed,
        "use_bidirectional_attention": (False, None),
    }
    names_head_dim: ClassVar[bool] = True

    vocab_size: int = 256000
    hidden_size: int = 2304
    intermediate_size: int = 9216
    num_hidden_layers: int = 26
    num_attention_heads: int = 8
    num_key_value_heads: int = 4
    head_dim: int = 256
    hidden_act: str = "gelu_pytorch_tanh"
    max_position_embeddings: int = 8192
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = True
    attention_bias: bool = False
    query_pre_attn_scalar: int = 256
    final_logit_softcapping: float | None = 30.0
    attn_logit_softcapping: float | None = 50.0
    pad_token_id: int | None = 0
    bos_token_id: int | None = 2
    eos_token_id: int | list[int] | None = 1

    def slides(self, layer: int) -> bool:
        return layer % 2 == 0

    def check(self) -> None:
        super().check()
        require(self.query_pre_attn_scalar >= 1, "query_pre_attn_scalar", "must be at least 1")
        for key in ("final_logit_softcapping", "attn_logit_softcapping"):
            cap = getattr(self, key)
            require(cap is None or cap > 0, key, "must be above 0")
        # transformers refuses this too, though heads have a width of their own.
        require(
            self.hidden_size % self.num_attention_heads == 0,
            "hidden_size",
            f"({self.hidden_size}) is not a multiple of num_attention_heads "
            f"({self.num_attention_heads})",
        )
