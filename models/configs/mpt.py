"""MPT's config (transformers: MptConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require, require_divides
from tfcli.models.configs.text import TextConfig
from tfcli.models.limits import LIMIT

# What attention may be: keys of `attn_config` that change the computation in a way not built.
_ATTENTION = {
    "attn_type": "multihead_attention",
    "qk_ln": False,
    "prefix_lm": False,
    "alibi": True,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MptConfig(TextConfig):
    """MPT 7B and 30B. `max_seq_len` is the trained length; positions have no limit.

    `attn_config` is a mapping of its own, of which `attn_pdrop`, `clip_qkv`, `softmax_scale` and
    `alibi_bias_max` are read. transformers leaves the last one out of account; here it counts, as
    in the code that the models were trained with.
    """

    model_type: ClassVar[str] = "mpt"
    aliases: ClassVar[dict[str, str]] = {
        "d_model": "hidden_size",
        "n_heads": "num_attention_heads",
        "n_layers": "num_hidden_layers",
        "max_seq_len": "max_position_embeddings",
    }
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        "expansion_ratio": (4, None),
        "no_bias": (True, None),
        "logit_scale": (None,),
        "emb_pdrop": (0.0, None),
        "resid_pdrop": (0.0, None),
    }

    vocab_size: int = 50368
    hidden_size: int = 2048
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    max_position_embeddings: int = 2048
    layer_norm_epsilon: float = 1e-5
    attn_config: dict[str, Any] | None = None

    @property
    def longest_input(self) -> int:
        return LIMIT

    @property
    def attention_dropout(self) -> float:
        """On attention weights, and on what both halves of a block add."""
        return self._of_attention("attn_pdrop", 0.0)

    @property
    def clip_qkv(self) -> float | None:
        """The largest absolute value of queries, keys and values."""
        return self._of_attention("clip_qkv", None)

    @property
    def attention_scale(self) -> float | None:
        """Factor on the scores; None: head_dim ** -0.5."""
        return self._of_attention("softmax_scale", None)

    @property
    def steepest(self) -> int:
        """See `layers.alibi.slopes`."""
        return self._of_attention("alibi_bias_max", 8)

    def _of_attention(self, key: str, default: Any) -> Any:
        value = (self.attn_config or {}).get(key)
        return default if value is None else value

    def check(self) -> None:
        super().check()
        require_divides(self.num_attention_heads, self.hidden_size, "n_heads", "d_model")
        for key, allowed in _ATTENTION.items():
            given = self._of_attention(key, allowed)
            require(given == allowed, f"attn_config.{key}", f"is {given!r}; supported: {allowed!r}")
        for key in ("attn_pdrop", "clip_qkv", "softmax_scale", "alibi_bias_max"):
            value = self._of_attention(key, 1)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            require(number, f"attn_config.{key}", f"must be a number, not {value!r}")
        require(0 <= self.attention_dropout < 1, "attn_config.attn_pdrop", "must be in [0, 1)")
        clip = self.clip_qkv
        require(clip is None or clip >= 0, "attn_config.clip_qkv", "is negative")
