"""gpt-oss's config (transformers: GptOssConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.experts import BalancedConfig
from tfcli.models.configs.windows import WindowedConfig

_ROPE = {
    "rope_type": "yarn",
    "rope_theta": 150000.0,
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 4096,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class GptOssConfig(BalancedConfig, WindowedConfig):
    """gpt-oss 20b and 120b, in 16 or 32 bits."""

    model_type: ClassVar[str] = "gpt_oss"
    aliases: ClassVar[dict[str, str]] = {"num_local_experts": "num_experts"}
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        "hidden_act": ("silu", None),  # experts have an activation of their own
        "partial_rotary_factor": (1.0, None),
    }
    default_theta: ClassVar[float] = 150000.0
    names_head_dim: ClassVar[bool] = True

    vocab_size: int = 201088
    hidden_size: int = 2880
    intermediate_size: int = 2880
    num_hidden_layers: int = 36
    num_attention_heads: int = 64
    num_key_value_heads: int = 8
    head_dim: int = 64
    max_position_embeddings: int = 131072
    rms_norm_eps: float = 1e-5
    attention_bias: bool = True
    sliding_window: int | None = 128
    num_experts: int = 128
    num_experts_per_tok: int = 4
    swiglu_alpha: float = 1.702
    swiglu_limit: float = 7.0
    rope_parameters: dict[str, Any] = dataclasses.field(default_factory=lambda: dict(_ROPE))

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        if data.get("rope_scaling") is None and data.get("rope_parameters") is None:
            theta = data.get("rope_theta") or cls.default_theta
            data["rope_parameters"] = _ROPE | {"rope_theta": theta}
        return super().read_keys(data)

    def slides(self, layer: int) -> bool:
        return self.has_windows and layer % 2 == 0

    def check(self) -> None:
        super().check()
        require(self.swiglu_limit > 0, "swiglu_limit", "must be above 0")
