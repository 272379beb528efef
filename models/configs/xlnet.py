"""XLNet's config (transformers: XLNetConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require, require_activation, require_divides
from tfcli.models.configs.text import TextConfig
from tfcli.models.limits import LIMIT

_SUMMARIES = ("first", "last", "mean")


@dataclasses.dataclass(frozen=True, kw_only=True)
class XLNetConfig(TextConfig):
    """XLNet. Positions are relative, so that there may be any number of them.

    Args:
        attn_type: `bi`: tokens see both directions; `uni`: only what is before them.
        same_length: with `uni`, each token sees equally many.
        clamp_len: distances from here on count alike; below 1: none do.
        mem_len: states that are remembered; None or 0: all.
        reuse_len: of a text, only so many are remembered; None or 0: all.
        use_mems_eval: states are remembered outside of training.
        use_mems_train: the same in training.
        summary_type: the state that classifiers of a whole input take.
    """

    model_type: ClassVar[str] = "xlnet"
    aliases: ClassVar[dict[str, str]] = {
        "d_model": "hidden_size",
        "n_layer": "num_hidden_layers",
        "n_head": "num_attention_heads",
    }
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        "bi_data": (False,),
        "classifier_dropout": (None,),
        "summary_first_dropout": (0, None),
        "summary_proj_to_labels": (False, None),
    }

    vocab_size: int = 32000
    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    max_position_embeddings: int = LIMIT
    d_inner: int = 4096
    d_head: int | None = None
    ff_activation: str = "gelu"
    attn_type: str = "bi"
    same_length: bool = False
    clamp_len: int = -1
    layer_norm_eps: float = 1e-12
    dropout: float = 0.1
    mem_len: int | None = 512
    reuse_len: int | None = None
    use_mems_eval: bool = True
    use_mems_train: bool = False
    summary_type: str = "last"
    summary_use_proj: bool = True
    summary_activation: str | None = "tanh"
    summary_last_dropout: float = 0.1
    pad_token_id: int | None = 5
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2

    @property
    def type_vocab_size(self) -> int:
        """Segments; there may be more, which are only told apart."""
        return 2

    @property
    def head_dropout(self) -> float:
        return 0.0  # its classifier of tokens has none

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        older = data.pop("n_token", None)
        return data if older is None else {"vocab_size": older, **data}

    def write_keys(self, out: dict[str, Any]) -> dict[str, Any]:
        if self.max_position_embeddings == LIMIT:  # no key of this family
            del out["max_position_embeddings"]
        return out

    def complete(self) -> None:
        if self.d_head is None and self.num_attention_heads > 0:
            object.__setattr__(self, "d_head", self.head_dim)

    def check(self) -> None:
        super().check()
        require_divides(self.num_attention_heads, self.hidden_size, "n_head", "d_model")
        own = self.head_dim
        require(self.d_head == own, "d_head", f"is {self.d_head}; only {own} fits the other sizes")
        require(self.d_inner >= 1, "d_inner", "must be at least 1")
        require_activation(self.ff_activation, "ff_activation")
        if self.summary_activation:
            require_activation(self.summary_activation, "summary_activation")
        for key in ("dropout", "summary_last_dropout"):
            require(0 <= getattr(self, key) < 1, key, "must be in [0, 1)")
        require(self.attn_type in ("bi", "uni"), "attn_type", f"is {self.attn_type!r}")
        kind = self.summary_type
        known = f"is {kind!r}; built are {', '.join(_SUMMARIES)}"
        require(kind in _SUMMARIES, "summary_type", known)
        for key in ("mem_len", "reuse_len"):
            require((getattr(self, key) or 0) >= 0, key, "is negative")
