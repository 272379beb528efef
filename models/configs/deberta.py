"""The first DeBERTa's config (transformers: DebertaConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.configs.deberta_v2 import DebertaV2Config


@dataclasses.dataclass(frozen=True, kw_only=True)
class DebertaConfig(DebertaV2Config):
    """The first DeBERTa, which has no buckets, no convolution and no norm of the table."""

    model_type: ClassVar[str] = "deberta"
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = DebertaV2Config.fixed | {
        "position_buckets": (None,),
        "share_att_key": (None, False),
        "norm_rel_ebd": (None, "none"),
        "conv_kernel_size": (None, 0),
        "talking_head": (None, False),
    }

    vocab_size: int = 50265
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
