"""Llama 4's config, of its text model (transformers: Llama4TextConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.experts import ExpertsConfig
from tfcli.models.configs.windows import NoPositionsConfig
from tfcli.models.limits import MAX_LAYERS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Llama4TextConfig(ExpertsConfig, NoPositionsConfig):
    """Scout and Maverick. Layers with positions see stretches of `attention_chunk_size` tokens.

    `intermediate_size` is the width of an expert and of what all tokens go through beside it,
    `intermediate_size_mlp` that of layers without experts.
    """

    model_type: ClassVar[str] = "llama4_text"
    aliases: ClassVar[dict[str, str]] = {
        "num_local_experts": "num_experts",
        "attention_chunk_size": "sliding_window",
    }
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        "partial_rotary_factor": (1.0, None),
        "router_jitter_noise": (0.0, None),  # no implementation uses it
    }
    local: ClassVar[str] = "chunked_attention"
    default_theta: ClassVar[float] = 500000.0
    names_head_dim: ClassVar[bool] = True

    vocab_size: int = 202048
    hidden_size: int = 5120
    intermediate_size: int = 8192
    intermediate_size_mlp: int = 16384
    num_hidden_layers: int = 48
    num_attention_heads: int = 40
    num_key_value_heads: int = 8
    head_dim: int = 128
    max_position_embeddings: int = 131072
    rms_norm_eps: float = 1e-5
    attention_bias: bool = False
    sliding_window: int | None = 8192
    use_qk_norm: bool = True
    attn_temperature_tuning: bool = True
    floor_scale: int = 8192
    attn_scale: float = 0.1
    num_experts: int = 16
    num_experts_per_tok: int = 1
    moe_layers: list[int] | None = None
    interleave_moe_layer_step: int = 1
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2

    @property
    def shared_size(self) -> int:
        return self.intermediate_size

    def sparse(self, layer: int) -> bool:
        return layer in (self.moe_layers or [])

    def slides(self, layer: int) -> bool:
        return self.rotates(layer)

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        if data.get("no_rope_layers") == []:  # in released files it stands for the default
            del data["no_rope_layers"]
        return super().read_keys(data)

    def complete(self) -> None:
        super().complete()
        if self.moe_layers is None:
            step = self.interleave_moe_layer_step
            require(step >= 1, "interleave_moe_layer_step", "must be at least 1")
            layers = range(step - 1, min(self.num_hidden_layers, MAX_LAYERS), step)
            object.__setattr__(self, "moe_layers", list(layers))

    def check(self) -> None:
        super().check()
        self.check_sizes("intermediate_size_mlp", "floor_scale")
        require(
            all(0 <= layer < self.num_hidden_layers for layer in self.moe_layers or []),
            "moe_layers",
            f"must have numbers of layers, 0 to {self.num_hidden_layers - 1}",
        )
