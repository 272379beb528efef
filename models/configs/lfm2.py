"""LFM2's config (transformers: Lfm2Config)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.hybrid import HybridConfig
from tfcli.models.configs.windows import FULL
from tfcli.models.limits import MAX_LAYERS

CONV = "conv"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lfm2Config(HybridConfig):
    """LFM2's dense models."""

    model_type: ClassVar[str] = "lfm2"
    aliases: ClassVar[dict[str, str]] = {"norm_eps": "rms_norm_eps", "conv_L_cache": "conv_width"}
    kinds: ClassVar[tuple[str, ...]] = (CONV, FULL)
    default_theta: ClassVar[float] = 1000000.0
    hidden_act: ClassVar[str] = "silu"  # type: ignore[misc]
    attention_dropout: ClassVar[float] = 0.0  # type: ignore[misc]

    vocab_size: int = 65536
    hidden_size: int = 2560
    intermediate_size: int = 12288
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = 8
    max_position_embeddings: int = 128000
    rms_norm_eps: float = 1e-5
    tie_word_embeddings: bool = True
    conv_bias: bool = False
    conv_width: int = 3
    block_multiple_of: int = 256
    block_ffn_dim_multiplier: float | None = 1.0
    block_auto_adjust_ff_dim: bool = True
    full_attn_idxs: list[int] | None = None  # how layer_types was spelt before
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2

    @property
    def mlp_size(self) -> int:
        """Width of the mlp: `intermediate_size`, or what is made of it."""
        size = self.intermediate_size
        if not self.block_auto_adjust_ff_dim:
            return size
        size = int(2 * size / 3)
        if self.block_ffn_dim_multiplier is None:
            return size
        multiple = self.block_multiple_of
        return -(-int(self.block_ffn_dim_multiplier * size) // multiple) * multiple

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        older = (("tie_embedding", "tie_word_embeddings"), ("block_ff_dim", "intermediate_size"))
        for old, key in older:
            if old in data:
                data[key] = data.pop(old)
        return super().read_keys(data)

    def default_kind(self, layer: int) -> str:
        assert self.full_attn_idxs is not None  # complete() fills it in
        return FULL if layer in self.full_attn_idxs else CONV

    def complete(self) -> None:
        if self.layer_types is None and self.full_attn_idxs is None:
            every = list(range(min(self.num_hidden_layers, MAX_LAYERS)))
            object.__setattr__(self, "full_attn_idxs", every)
        super().complete()

    def check(self) -> None:
        super().check()
        require(self.conv_width >= 2, "conv_L_cache", "must be at least 2")
        self.check_sizes("block_multiple_of")
        multiplier = self.block_ffn_dim_multiplier
        require(multiplier is None or multiplier > 0, "block_ffn_dim_multiplier", "must be above 0")
        require(self.mlp_size >= 1, "intermediate_size", "leaves the mlp no width")
