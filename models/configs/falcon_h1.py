"""Falcon-H1's config (transformers: FalconH1Config)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.hybrid import Mamba2LayersConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class FalconH1Config(Mamba2LayersConfig):
    """Falcon-H1: each layer attends and has a state space, side by side, with factors all over.

    `mlp_multipliers` are factors on the gate and on the mlp's output, `ssm_multipliers` those of
    `Mamba2Mixer.scales`.
    """

    model_type: ClassVar[str] = "falcon_h1"

    vocab_size: int = 128000
    hidden_size: int = 4096
    intermediate_size: int = 14336
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = 8
    max_position_embeddings: int = 8192
    rms_norm_eps: float = 1e-5
    attention_bias: bool = False
    mlp_bias: bool = False
    projectors_bias: bool = False
    mamba_d_ssm: int | None = 1024
    mamba_norm_before_gate: bool = True
    mamba_rms_norm: bool = False
    lm_head_multiplier: float = 1.0
    embedding_multiplier: float = 1.0
    key_multiplier: float = 1.0
    attention_in_multiplier: float = 1.0
    attention_out_multiplier: float = 1.0
    ssm_in_multiplier: float = 1.0
    ssm_out_multiplier: float = 1.0
    mlp_multipliers: list[float] | None = None
    ssm_multipliers: list[float] | None = None
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2

    @property
    def mamba_inner(self) -> int:
        return super().mamba_inner if self.mamba_d_ssm is None else self.mamba_d_ssm

    def complete(self) -> None:
        super().complete()
        for key, count in (("mlp_multipliers", 2), ("ssm_multipliers", 5)):
            if getattr(self, key) is None:
                object.__setattr__(self, key, [1.0] * count)

    def check(self) -> None:
        size = self.mamba_d_ssm
        require(size is None or size >= 1, "mamba_d_ssm", "must be at least 1")
        super().check()
        for key, count in (("mlp_multipliers", 2), ("ssm_multipliers", 5)):
            factors: list[Any] = getattr(self, key)
            require(
                len(factors) == count and all(type(x) in (int, float) for x in factors),
                key,
                f"must be {count} numbers",
            )
