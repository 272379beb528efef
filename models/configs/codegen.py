"""CodeGen's config (transformers: CodeGenConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require_divides
from tfcli.models.configs.gptj import GPTJConfig

SHARDS = 4  # the query, key and value rows are stored as so many shards, one a TPU core


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodeGenConfig(GPTJConfig):
    """CodeGen: GPT-J's keys."""

    model_type: ClassVar[str] = "codegen"
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {"scale_attn_weights": (True, None)}

    def check(self) -> None:
        super().check()
        require_divides(SHARDS, self.num_attention_heads, "the number of shards", "n_head")
