"""Funnel Transformer's config (transformers: FunnelConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require, require_activation
from tfcli.models.configs.text import TextConfig
from tfcli.models.limits import LIMIT, MAX_LAYERS

_ATTENTIONS = ("relative_shift", "factorized")
_POOLINGS = ("mean", "max")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FunnelConfig(TextConfig):
    """Funnel Transformer. Positions are relative, so that there may be any number of them.

    Args:
        block_sizes: layers of each block. Each block but the first has half as many states.
        block_repeats: how often each layer of a block runs.
        num_decoder_layers: layers that see all states again.
        pooling_type: what two states become.
        pool_q_only: the first layer of a block still sees all states of the block before.
        separate_cls: the first token is never pooled.
        truncate_seq: with `separate_cls`, the last state is left out, for even lengths.
        attention_type: what the distance of pooled states is: `factorized` takes their places,
            `relative_shift` counts.
        initializer_std: of new linears; None: by their size.
    """

    model_type: ClassVar[str] = "funnel"
    aliases: ClassVar[dict[str, str]] = {
        "d_model": "hidden_size",
        "n_head": "num_attention_heads",
    }
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {"classifier_dropout": (None,)}

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 0  # those of all blocks
    num_attention_heads: int = 12
    max_position_embeddings: int = LIMIT
    block_sizes: list[int] = dataclasses.field(default_factory=lambda: [4, 4, 4])
    block_repeats: list[int] | None = None
    num_decoder_layers: int = 2
    d_head: int = 64
    d_inner: int = 3072
    hidden_act: str = "gelu_new"
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    initializer_range: float = 0.1
    initializer_std: float | None = None
    layer_norm_eps: float = 1e-9
    pooling_type: str = "mean"
    attention_type: str = "relative_shift"
    separate_cls: bool = True
    truncate_seq: bool = True
    pool_q_only: bool = True

    @property
    def head_dim(self) -> int:
        return self.d_head

    @property
    def type_vocab_size(self) -> int:
        """Two segments, and that of the first token."""
        return 3

    @property
    def head_dropout(self) -> float:
        return self.hidden_dropout

    @property
    def repeats(self) -> list[int]:
        """How often each layer of a block runs."""
        return self.block_repeats or [1] * len(self.block_sizes)

    def write_keys(self, out: dict[str, Any]) -> dict[str, Any]:
        del out["num_hidden_layers"]  # no key of this family
        if self.max_position_embeddings == LIMIT:
            del out["max_position_embeddings"]
        return out

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        return tuple(sorted({*super().keys()} - {"num_hidden_layers", "classifier_dropout"}))

    def complete(self) -> None:
        if all(0 <= size <= MAX_LAYERS for size in self.block_sizes):
            object.__setattr__(self, "num_hidden_layers", sum(self.block_sizes))
        object.__setattr__(self, "block_repeats", self.repeats)

    def check(self) -> None:
        super().check()
        sizes, repeats = self.block_sizes, self.repeats
        some = bool(sizes) and all(1 <= size <= MAX_LAYERS for size in sizes)
        require(some, "block_sizes", f"must be numbers from 1 to {MAX_LAYERS:,}")
        fits = len(repeats) == len(sizes) and all(1 <= each <= MAX_LAYERS for each in repeats)
        require(fits, "block_repeats", "must have a number from 1 on for each of block_sizes")
        self.check_layers("num_decoder_layers")
        self.check_sizes("d_head", "d_inner")
        require_activation(self.hidden_act, "hidden_act")
        for key in ("hidden_dropout", "attention_dropout", "activation_dropout"):
            require(0 <= getattr(self, key) < 1, key, "must be in [0, 1)")
        for key, known in (("attention_type", _ATTENTIONS), ("pooling_type", _POOLINGS)):
            value = getattr(self, key)
            require(value in known, key, f"is {value!r}; built are {', '.join(known)}")
