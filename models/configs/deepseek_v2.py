"""DeepSeek-V2's config (transformers: DeepseekV2Config)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.experts import SharedExpertsConfig
from tfcli.models.configs.latent import LatentConfig

GREEDY, LIMITED = "greedy", "group_limited_greedy"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepseekV2Config(SharedExpertsConfig, LatentConfig):
    """DeepSeek-V2, V2-Lite and V2.5. `topk_method` says whether groups limit a choice."""

    model_type: ClassVar[str] = "deepseek_v2"
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        "scoring_func": ("softmax", None),
        "norm_topk_prob": (False, None),  # transformers has the key and normalises nothing
        "moe_layer_freq": (1, None),
        "partial_rotary_factor": (1.0, None),
    }

    vocab_size: int = 102400
    hidden_size: int = 4096
    intermediate_size: int = 11008
    moe_intermediate_size: int = 1407
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    attention_bias: bool = False
    mlp_bias: bool = False
    num_experts: int = 64
    num_experts_per_tok: int = 6
    n_shared_experts: int = 2
    topk_method: str | None = GREEDY
    n_group: int | None = None
    topk_group: int | None = None
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2

    @property
    def groups(self) -> tuple[int, int]:
        """How many groups of experts there are, and how many of them a token can go to."""
        if self.topk_method != LIMITED:
            return 1, 1
        return self.n_group or 1, self.topk_group or 1

    def check(self) -> None:
        super().check()
        require(
            self.topk_method in (GREEDY, LIMITED),
            "topk_method",
            f"is {self.topk_method!r}; supported: {GREEDY}, {LIMITED}",
        )
        self.check_groups(*self.groups, speakers=1)
