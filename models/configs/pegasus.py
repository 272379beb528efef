"""PEGASUS's config (transformers: PegasusConfig)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.configs.bart import Seq2SeqConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class PegasusConfig(Seq2SeqConfig):
    """PEGASUS."""

    model_type: ClassVar[str] = "pegasus"

    pad_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 1
    decoder_start_token_id: int | None = 0
