"""Configs of Qwen3.5's text models (transformers: Qwen3_5TextConfig, Qwen3_5MoeTextConfig)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.configs.experts import SharedConfig
from tfcli.models.configs.qwen3_next import DeltaConfig
from tfcli.models.configs.rope import check_rope

# How time, height and width share the frequencies. In a text all three are one number.
_OF_MEDIA = ("mrope_section", "mrope_interleaved")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Qwen35TextConfig(DeltaConfig):
    """Qwen3.5's dense models."""

    model_type: ClassVar[str] = "qwen3_5_text"

    vocab_size: int = 248320
    hidden_size: int = 4096
    intermediate_size: int = 12288
    num_hidden_layers: int = 32
    num_key_value_heads: int = 4

    def check_positions(self) -> None:
        rope = self.rope_parameters
        check_rope({key: rope[key] for key in rope if key not in _OF_MEDIA}, self.head_dim)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Qwen35MoeTextConfig(Qwen35TextConfig, SharedConfig):
    """Qwen3.5's models with experts, in every layer."""

    model_type: ClassVar[str] = "qwen3_5_moe_text"
    aliases: ClassVar[dict[str, str]] = {"moe_intermediate_size": "intermediate_size"}

    hidden_size: int = 2048
    intermediate_size: int = 512
    num_hidden_layers: int = 40
    num_key_value_heads: int = 2
    shared_expert_intermediate_size: int = 512
    num_experts: int = 256
    num_experts_per_tok: int = 8
