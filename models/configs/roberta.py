"""The configs of RoBERTa, XLM-RoBERTa and CamemBERT (transformers: RobertaConfig and others)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.config import require
from tfcli.models.configs.bert import BertConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class RobertaConfig(BertConfig):
    """RoBERTa. The position table's rows up to `pad_token_id` belong to no token."""

    model_type: ClassVar[str] = "roberta"

    vocab_size: int = 50265
    pad_token_id: int | None = 1
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2

    @property
    def longest_input(self) -> int:
        assert self.pad_token_id is not None
        return self.max_position_embeddings - self.pad_token_id - 1

    def check(self) -> None:
        super().check()
        pad = self.pad_token_id
        require(pad is not None and pad >= 0, "pad_token_id", "is needed: positions begin after it")
        assert pad is not None
        require(
            self.max_position_embeddings > pad + 1,
            "max_position_embeddings",
            f"is {self.max_position_embeddings}, but positions begin after pad_token_id, {pad}",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class XLMRobertaConfig(RobertaConfig):
    """XLM-RoBERTa."""

    model_type: ClassVar[str] = "xlm-roberta"

    vocab_size: int = 30522


@dataclasses.dataclass(frozen=True, kw_only=True)
class CamembertConfig(RobertaConfig):
    """CamemBERT."""

    model_type: ClassVar[str] = "camembert"

    vocab_size: int = 30522
