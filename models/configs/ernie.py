"""ERNIE's config (transformers: ErnieConfig)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.config import require
from tfcli.models.configs.bert import BertConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class ErnieConfig(BertConfig):
    """ERNIE.

    Args:
        use_task_id: tokens have embeddings of the pretraining task that they are read for.
        task_type_vocab_size: how many tasks there are.
    """

    model_type: ClassVar[str] = "ernie"

    use_task_id: bool = False
    task_type_vocab_size: int = 3

    def check(self) -> None:
        super().check()
        require(self.task_type_vocab_size >= 1, "task_type_vocab_size", "must be at least 1")
