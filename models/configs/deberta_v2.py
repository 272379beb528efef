"""DeBERTa-v2's config (transformers: DebertaV2Config), which v3 checkpoints have too."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require, require_activation, require_divides
from tfcli.models.configs.bert import EncoderConfig

_TERMS = ("c2p", "p2c")  # p2p exists in the first DeBERTa's code, but no checkpoint has it
_TABLE_NORMS = ("none", "layer_norm")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DebertaV2Config(EncoderConfig):
    """DeBERTa v2 and v3. Keys whose default is None are written only where they were given.

    Args:
        embedding_size: width of the embedding tables, which a linear brings to hidden_size.
        position_biased_input: embeddings of positions are added to those of words.
        relative_attention: relative positions move the scores of attention.
        max_relative_positions: distances from here on count alike; below 1:
            max_position_embeddings.
        position_buckets: groups of distances in each direction; every distance is its own below 1.
        pos_att_type: see `DisentangledAttention`.
        share_att_key: relative positions are projected by the linears of queries and keys.
        norm_rel_ebd: `layer_norm` normalises the table of relative positions.
        conv_kernel_size: positions that a convolution after the first block sees; 0: there is none.
        conv_groups: parts that it is split into.
        conv_act: its activation.
        pooler_hidden_act: activation of the classifiers' pooler.
        pooler_dropout: before the pooler.
        cls_dropout: after it; None: hidden_dropout_prob.
        legacy: which of two masked-language-model heads the checkpoint has.
    """

    model_type: ClassVar[str] = "deberta-v2"
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = EncoderConfig.fixed | {
        "classifier_dropout": (None,),  # its classifiers have pooler_dropout and cls_dropout
    }

    vocab_size: int = 128100
    hidden_size: int = 1536
    num_hidden_layers: int = 24
    num_attention_heads: int = 24
    intermediate_size: int = 6144
    type_vocab_size: int = 0
    layer_norm_eps: float = 1e-7
    embedding_size: int = 0  # 0: hidden_size
    attention_head_size: int | None = None
    position_biased_input: bool = True
    relative_attention: bool = False
    max_relative_positions: int = -1
    position_buckets: int | None = None
    pos_att_type: list[str] | None = None
    share_att_key: bool | None = None
    norm_rel_ebd: str | None = None
    conv_kernel_size: int | None = None
    conv_groups: int | None = None
    conv_act: str | None = None
    pooler_hidden_size: int = 0  # 0: hidden_size
    pooler_hidden_act: str = "gelu"
    pooler_dropout: float = 0.0
    cls_dropout: float | None = None
    legacy: bool = True

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        terms = data.get("pos_att_type")
        if isinstance(terms, str):
            data["pos_att_type"] = [term.strip() for term in terms.lower().split("|")]
        return data

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        return tuple(sorted({*super().keys()} - {*cls.fixed}))

    @property
    def head_dropout(self) -> float:
        return self.hidden_dropout_prob

    @property
    def pooled_dropout(self) -> float:
        """Dropout between the pooler and a classifier of whole inputs."""
        return self.hidden_dropout_prob if self.cls_dropout is None else self.cls_dropout

    @property
    def farthest(self) -> int:
        """Distances from here on count alike."""
        given = self.max_relative_positions
        return given if given >= 1 else self.max_position_embeddings

    @property
    def buckets(self) -> int:
        """Groups of distances in each direction; 0: every distance is its own."""
        return max(self.position_buckets or 0, 0)

    @property
    def span(self) -> int:
        """Half of the rows of the table of relative positions."""
        return self.buckets or self.farthest

    @property
    def own_projections(self) -> tuple[str, ...]:
        """The terms for which the table of relative positions has linears of its own."""
        if not self.relative_attention or self.share_att_key:
            return ()
        terms = self.pos_att_type or ()
        return tuple(term for term in _TERMS if term in terms)

    @property
    def norms_table(self) -> bool:
        """Whether the table of relative positions is normalised."""
        return "layer_norm" in _names(self.norm_rel_ebd)

    @property
    def kernel(self) -> int:
        """Positions that the convolution after the first block sees; 0: there is none."""
        return max(self.conv_kernel_size or 0, 0)

    def write_keys(self, out: dict[str, Any]) -> dict[str, Any]:
        if self.embedding_size == self.hidden_size:
            del out["embedding_size"]  # transformers knows the key only where it differs
        return out

    def complete(self) -> None:
        for key in ("embedding_size", "pooler_hidden_size"):
            if getattr(self, key) == 0:
                object.__setattr__(self, key, self.hidden_size)

    def check(self) -> None:
        super().check()
        require(self.type_vocab_size >= 0, "type_vocab_size", "is negative")
        require_activation(self.pooler_hidden_act, "pooler_hidden_act")
        for key in ("pooler_dropout", "cls_dropout"):
            require(0 <= (getattr(self, key) or 0) < 1, key, "must be in [0, 1)")
        for key, own in (
            ("attention_head_size", self.head_dim),
            ("pooler_hidden_size", self.hidden_size),
        ):
            given = getattr(self, key)
            require(given in (None, own), key, f"is {given}; only {own} fits the other sizes")
        for term in self.pos_att_type or ():
            require(term in _TERMS, "pos_att_type", f"has {term!r}; built are {', '.join(_TERMS)}")
        for name in _names(self.norm_rel_ebd):
            known = ", ".join(_TABLE_NORMS)
            require(name in _TABLE_NORMS, "norm_rel_ebd", f"has {name!r}; built are {known}")
        if self.buckets:
            low, high = "must be at least 2", "must be less than twice the farthest position"
            require(self.buckets >= 2, "position_buckets", low)
            require(self.buckets // 2 < self.farthest - 1, "position_buckets", high)
        if self.kernel:
            require(self.kernel % 2 == 1, "conv_kernel_size", "must be odd")
            require_divides(self.conv_groups or 1, self.hidden_size, "conv_groups", "hidden_size")
            require_activation(self.conv_act or "tanh", "conv_act")
        require(
            self.legacy or self.embedding_size == self.hidden_size,
            "legacy",
            "is false, but that masked-language-model head needs embedding_size = hidden_size",
        )


def _names(given: str | None) -> list[str]:
    """`A|b` as names."""
    return [name.strip() for name in (given or "none").lower().split("|")]
