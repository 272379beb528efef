"""The configs of T5, mT5 and UMT5 (transformers: T5Config, MT5Config, UMT5Config)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require, require_activation
from tfcli.models.configs.text import TextConfig
from tfcli.models.limits import LIMIT, MAX_LAYERS


@dataclasses.dataclass(frozen=True, kw_only=True)
class T5LikeConfig(TextConfig):
    """What the three share. Positions are relative, so that there may be any number of them."""

    aliases: ClassVar[dict[str, str]] = {
        "d_model": "hidden_size",
        "d_kv": "head_dim",
        "num_layers": "num_hidden_layers",
        "num_heads": "num_attention_heads",
        "initializer_factor": "initializer_range",
    }
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {"is_decoder": (False, None)}

    vocab_size: int = 32128
    hidden_size: int = 512
    head_dim: int = 64
    d_ff: int = 2048
    num_hidden_layers: int = 6
    num_decoder_layers: int | None = None
    num_attention_heads: int = 8
    max_position_embeddings: int = LIMIT
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    feed_forward_proj: str = "relu"
    dense_act_fn: str | None = None
    is_gated_act: bool | None = None
    dropout_rate: float = 0.1
    classifier_dropout: float | None = 0.0
    layer_norm_epsilon: float = 1e-6
    initializer_range: float = 1.0
    pad_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 1
    decoder_start_token_id: int | None = None
    is_encoder_decoder: bool = True

    @property
    def scales_states(self) -> bool:
        """The decoder's states are scaled down before the language-model head."""
        return False

    @property
    def bias_in_each_layer(self) -> bool:
        """Each layer has a bias of its own, else all of a stack share the first one's."""
        return False

    @property
    def cached_layers(self) -> int:
        return 2 * (self.num_decoder_layers or 0)

    def write_keys(self, out: dict[str, Any]) -> dict[str, Any]:
        if self.max_position_embeddings == LIMIT:  # no key of this family
            del out["max_position_embeddings"]
        return out

    def complete(self) -> None:
        super().complete()
        act = self.feed_forward_proj.rpartition("-")[2]
        values = {
            "num_decoder_layers": self.num_hidden_layers,
            # The first gated checkpoints were described so, and computed it by the tanh formula.
            "dense_act_fn": "gelu_new" if self.feed_forward_proj == "gated-gelu" else act,
            "is_gated_act": self.feed_forward_proj.startswith("gated-"),
        }
        for name, value in values.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)

    def check(self) -> None:
        super().check()
        gate = self.feed_forward_proj.rpartition("-")[0]
        require(
            gate in ("", "gated"),
            "feed_forward_proj",
            f"is {self.feed_forward_proj!r}, neither an activation nor gated-ACTIVATION",
        )
        require_activation(str(self.dense_act_fn), "feed_forward_proj")
        for key in ("d_ff", "head_dim"):
            require(getattr(self, key) >= 1, self.spelling(key), "must be at least 1")
        layers = self.num_decoder_layers or 0
        require(0 <= layers <= MAX_LAYERS, "num_decoder_layers", f"is not 0 to {MAX_LAYERS:,}")
        buckets = self.relative_attention_num_buckets
        require(buckets >= 4, "relative_attention_num_buckets", "must be at least 4")
        require(
            self.relative_attention_max_distance > buckets // 2,
            "relative_attention_max_distance",
            f"must be more than half of relative_attention_num_buckets ({buckets})",
        )
        require(0 <= self.dropout_rate < 1, "dropout_rate", "must be in [0, 1)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class T5Config(T5LikeConfig):
    """T5, T5 v1.1 and FLAN-T5.

    `scale_decoder_outputs` follows from tie_word_embeddings where a config does not say it: the
    first T5 shares its token table with the head, and scales; version 1.1 does neither.
    """

    model_type: ClassVar[str] = "t5"

    scale_decoder_outputs: bool | None = None

    @property
    def scales_states(self) -> bool:
        return bool(self.scale_decoder_outputs)

    def complete(self) -> None:
        super().complete()
        if self.scale_decoder_outputs is None:
            object.__setattr__(self, "scale_decoder_outputs", self.tie_word_embeddings)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MT5Config(T5LikeConfig):
    """mT5. Its states are never scaled."""

    model_type: ClassVar[str] = "mt5"

    vocab_size: int = 250112
    d_ff: int = 1024
    num_hidden_layers: int = 8
    num_attention_heads: int = 6
    feed_forward_proj: str = "gated-gelu"
    decoder_start_token_id: int | None = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class UMT5Config(MT5Config):
    """UMT5. Its states are always scaled."""

    model_type: ClassVar[str] = "umt5"

    @property
    def scales_states(self) -> bool:
        return True

    @property
    def bias_in_each_layer(self) -> bool:
        return True
