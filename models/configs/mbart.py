"""mBART's config (transformers: MBartConfig)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.configs.bart import Seq2SeqConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class MBartConfig(Seq2SeqConfig):
    """mBART-25 and mBART-50."""

    model_type: ClassVar[str] = "mbart"

    classifier_dropout: float | None = 0.0
    pad_token_id: int | None = 1
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2
