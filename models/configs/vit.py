"""The configs of ViT and DeiT (transformers: ViTConfig, DeiTConfig)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.config import require, require_activation
from tfcli.models.configs.feature_maps import FeatureMapConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViTConfig(FeatureMapConfig):
    """ViT.

    Args:
        qkv_bias: whether the projections of queries, keys and values have one.
        encoder_stride: by how much the head that fills in masked patches enlarges an image of
            patches; the patch size, where it is to have the pixels of the input.
        pooler_output_size: width of the pooled state; None: hidden_size.
        pooler_act: activation of the pooler.
    """

    model_type: ClassVar[str] = "vit"

    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    qkv_bias: bool = True
    encoder_stride: int = 16
    pooler_output_size: int | None = None
    pooler_act: str = "tanh"

    def check(self) -> None:
        super().check()
        self.check_sizes("encoder_stride")
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            require(0 <= getattr(self, name) < 1, name, "must be in [0, 1)")
        size = self.pooler_output_size
        require(size is None or size >= 1, "pooler_output_size", "must be at least 1")
        require_activation(self.pooler_act, "pooler_act")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeiTConfig(ViTConfig):
    """DeiT."""

    model_type: ClassVar[str] = "deit"
