"""DeepSeek-V3's config (transformers: DeepseekV3Config)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

from tfcli.models.config import require, require_divides
from tfcli.models.configs.experts import ExpertsConfig
from tfcli.models.limits import LIMIT

_SIZES = (
    "moe_intermediate_size",
    "n_shared_experts",
    "kv_lora_rank",
    "qk_rope_head_dim",
    "qk_nope_head_dim",
    "v_head_dim",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepseekV3Config(ExpertsConfig):
    """DeepSeek-V3 and R1, and checkpoints of their shape.

    `head_dim` is the part of a head that is turned, `qk_rope_head_dim`, as in transformers.
    """

    model_type: ClassVar[str] = "deepseek_v3"
    aliases: ClassVar[dict[str, str]] = {"n_routed_experts": "num_experts"}
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        "scoring_func": ("sigmoid", None),
        "topk_method": ("noaux_tc", None),
        "moe_layer_freq": (1, None),
        "partial_rotary_factor": (1.0, None),
    }
    names_head_dim: ClassVar[bool] = True

    vocab_size: int = 129280
    hidden_size: int = 7168
    intermediate_size: int = 18432
    moe_intermediate_size: int = 2048
    num_hidden_layers: int = 61
    num_attention_heads: int = 128
    max_position_embeddings: int = 4096
    rms_norm_eps: float = 1e-6
    attention_bias: bool = False
    num_experts: int = 256
    num_experts_per_tok: int = 8
    n_shared_experts: int = 1
    n_group: int = 8
    topk_group: int = 4
    norm_topk_prob: bool = True
    routed_scaling_factor: float = 2.5
    first_k_dense_replace: int = 3
    q_lora_rank: int | None = 1536
    kv_lora_rank: int = 512
    qk_rope_head_dim: int = 64
    qk_nope_head_dim: int = 128
    v_head_dim: int = 128
    rope_interleave: bool = True
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 1

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        for key in ("head_dim", "qk_head_dim"):  # both follow from other keys
            data.pop(key, None)
        return super().read_keys(data)

    def write_keys(self, out: dict[str, Any]) -> dict[str, Any]:
        return {**super().write_keys(out), "qk_head_dim": self.qk_head_dim}

    @property
    def qk_head_dim(self) -> int:
        """Width of a head of queries and keys."""
        return self.qk_nope_head_dim + self.qk_rope_head_dim

    @property
    def cached_per_position(self) -> int:
        return self.kv_lora_rank + self.qk_rope_head_dim

    @property
    def attention_scale(self) -> float:
        """Factor on the scores. YaRN's temperature is part of it, squared, where
        `mscale_all_dim` says so; what `mscale` says is left to the rotation."""
        scale, rope = self.qk_head_dim**-0.5, self.rope_parameters
        if rope["rope_type"] == "default" or not rope.get("mscale_all_dim"):
            return scale
        if rope["factor"] <= 1:
            return scale
        return scale * (0.1 * rope["mscale_all_dim"] * math.log(rope["factor"]) + 1) ** 2

    @property
    def expert_size(self) -> int:
        return self.moe_intermediate_size

    def sparse(self, layer: int) -> bool:
        return layer >= self.first_k_dense_replace

    def complete(self) -> None:
        turned = self.qk_rope_head_dim  # is the size that the rotation is told
        require(1 <= turned <= LIMIT, "qk_rope_head_dim", f"is {turned:,}, not 1 to {LIMIT:,}")
        object.__setattr__(self, "head_dim", self.qk_rope_head_dim)
        super().complete()

    def check(self) -> None:
        super().check()
        for key in _SIZES:
            require(getattr(self, key) >= 1, key, "must be at least 1")
        require(self.q_lora_rank is None or self.q_lora_rank >= 1, "q_lora_rank", "is below 1")
        require(self.first_k_dense_replace >= 0, "first_k_dense_replace", "is negative")
        require(
            self.num_key_value_heads == self.num_attention_heads,
            "num_key_value_heads",
            "must be num_attention_heads: every head makes its keys from the latent state",
        )
        self._check_groups()
        rope = self.rope_parameters
        if rope["rope_type"] != "default" and rope.get("mscale_all_dim"):
            require("factor" in rope, "rope_parameters.factor", "is required by mscale_all_dim")

    def _check_groups(self) -> None:
        experts = self.spelling("num_experts")
        require_divides(self.n_group, self.num_experts, "n_group", experts)
        members = self.num_experts // self.n_group
        require(members >= 2, "n_group", f"leaves {members} expert a group; two speak for a group")
        require(
            1 <= self.topk_group <= self.n_group,
            "topk_group",
            f"is {self.topk_group}, but there are {self.n_group} groups",
        )
        require(
            self.num_experts_per_tok <= self.topk_group * members,
            "num_experts_per_tok",
            f"is {self.num_experts_per_tok}, more than topk_group groups hold",
        )
