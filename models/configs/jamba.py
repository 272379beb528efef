"""Jamba's config (transformers: JambaConfig)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.experts import BalancedConfig

_ROTARY = {"rope_parameters", "rope_scaling", "rope_theta", "original_max_position_embeddings"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class JambaConfig(BalancedConfig):
    """Jamba. One layer in so many attends, and one in so many has experts; nothing is turned."""

    model_type: ClassVar[str] = "jamba"
    rope_parameters: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]

    vocab_size: int = 65536
    hidden_size: int = 4096
    intermediate_size: int = 14336
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = 8
    max_position_embeddings: int = 262144
    rms_norm_eps: float = 1e-6
    num_experts: int = 16
    num_experts_per_tok: int = 2
    expert_layer_period: int = 2
    expert_layer_offset: int = 1
    attn_layer_period: int = 8
    attn_layer_offset: int = 4
    mamba_d_state: int = 16
    mamba_d_conv: int = 4
    mamba_expand: int = 2
    mamba_dt_rank: int | str = "auto"
    mamba_conv_bias: bool = True
    mamba_proj_bias: bool = False
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2

    @property
    def norm_topk_prob(self) -> bool:
        return False

    @property
    def cached_layers(self) -> int:
        return sum(map(self.attends, range(self.num_hidden_layers)))

    def attends(self, layer: int) -> bool:
        """Whether a layer has attention; the others have a state space."""
        return layer % self.attn_layer_period == self.attn_layer_offset

    @property
    def has_experts(self) -> bool:
        return self.num_experts != 1

    def sparse(self, layer: int) -> bool:
        due = layer % self.expert_layer_period == self.expert_layer_offset
        return due and self.has_experts

    @classmethod
    def read_positions(cls, data: dict[str, Any]) -> dict[str, Any]:
        return {}

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        data = super().read_keys(data)
        del data["rope_parameters"]
        return data

    def write_positions(self) -> dict[str, Any]:
        return {}

    def check_positions(self) -> None:
        """Nothing: there are none."""

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        return tuple(sorted({*super().keys()} - _ROTARY))

    def complete(self) -> None:
        super().complete()
        if self.mamba_dt_rank == "auto":
            object.__setattr__(self, "mamba_dt_rank", math.ceil(self.hidden_size / 16))

    def check(self) -> None:
        for kind in ("expert", "attn"):
            period, offset = f"{kind}_layer_period", f"{kind}_layer_offset"
            self.check_sizes(period)
            within = 0 <= getattr(self, offset) < getattr(self, period)
            require(within, offset, f"must be from 0 to below {period}")
        super().check()
        self.check_sizes("mamba_d_state", "mamba_expand")
        rank = self.mamba_dt_rank
        require(isinstance(rank, int) and rank >= 1, "mamba_dt_rank", "must be at least 1")
        require(self.mamba_d_conv >= 2, "mamba_d_conv", "must be at least 2")
