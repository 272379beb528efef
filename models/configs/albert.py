"""ALBERT's config (transformers: AlbertConfig)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.config import require
from tfcli.models.configs.bert import BertConfig
from tfcli.models.limits import MAX_LAYERS


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlbertConfig(BertConfig):
    """ALBERT.

    Args:
        embedding_size: width of the embedding tables; a linear widens them to hidden_size.
        num_hidden_groups: the layers fall into so many groups, which share their parameters.
        inner_group_num: blocks of a group, which a layer runs one after the other.
        classifier_dropout_prob: before a classifier's last linear; None: hidden_dropout_prob.
    """

    model_type: ClassVar[str] = "albert"

    vocab_size: int = 30000
    embedding_size: int = 128
    hidden_size: int = 4096
    num_hidden_groups: int = 1
    num_attention_heads: int = 64
    intermediate_size: int = 16384
    inner_group_num: int = 1
    hidden_act: str = "gelu_new"
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    classifier_dropout_prob: float | None = 0.1
    bos_token_id: int | None = 2
    eos_token_id: int | list[int] | None = 3

    @property
    def head_dropout(self) -> float:
        rate = self.classifier_dropout_prob
        return super().head_dropout if rate is None else rate

    def check(self) -> None:
        super().check()
        require(self.num_hidden_groups >= 1, "num_hidden_groups", "must be at least 1")
        require(self.inner_group_num >= 1, "inner_group_num", "must be at least 1")
        blocks = self.num_hidden_groups * self.inner_group_num
        require(
            blocks <= MAX_LAYERS,
            "num_hidden_groups",
            f"times inner_group_num is {blocks:,}, more than {MAX_LAYERS:,}",
        )
        rate = self.classifier_dropout_prob
        require(0 <= (rate or 0) < 1, "classifier_dropout_prob", "must be in [0, 1)")

    def group(self, layer: int) -> int:
        """Which group's parameters a layer has."""
        return int(layer / (self.num_hidden_layers / self.num_hidden_groups))
