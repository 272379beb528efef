"""ELECTRA's config (transformers: ElectraConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require, require_activation
from tfcli.models.configs.bert import BertConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class ElectraConfig(BertConfig):
    """ELECTRA, its generator and its discriminator.

    Args:
        embedding_size: width of the embedding tables; a linear widens them to hidden_size.
        summary_use_proj: multiple choice has a linear on the first token's state.
        summary_activation: after it; None: no activation.
        summary_last_dropout: after that.
    """

    model_type: ClassVar[str] = "electra"
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = BertConfig.fixed | {
        "summary_type": ("first",),
        "summary_first_dropout": (0, None),
        "summary_proj_to_labels": (False, None),
    }

    hidden_size: int = 256
    embedding_size: int = 128
    num_attention_heads: int = 4
    intermediate_size: int = 1024
    summary_use_proj: bool = True
    summary_activation: str | None = "gelu"
    summary_last_dropout: float = 0.1

    def check(self) -> None:
        super().check()
        if self.summary_activation:
            require_activation(self.summary_activation, "summary_activation")
        require(0 <= self.summary_last_dropout < 1, "summary_last_dropout", "must be in [0, 1)")
