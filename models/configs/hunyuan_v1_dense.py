"""HunYuan's config, of its dense models (transformers: HunYuanDenseV1Config)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.rope import check_rope
from tfcli.models.configs.rotary import RotaryConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class HunYuanDenseV1Config(RotaryConfig):
    """HunYuan 0.5B to 7B."""

    model_type: ClassVar[str] = "hunyuan_v1_dense"
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        **RotaryConfig.fixed,
        # Keys of released files that transformers does not read.
        "use_qk_norm": (True, None),
        "use_cla": (False, None),
    }
    names_head_dim: ClassVar[bool] = True

    vocab_size: int = 290943
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-5
    attention_bias: bool = False
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2

    @property
    def rotation(self) -> dict[str, Any]:
        """The rotary settings as they are computed.

        `dynamic` with an `alpha` depends on no length: it only stretches the base, once for all.
        """
        rope = dict(self.rope_parameters)
        alpha = rope.pop("alpha", None)
        if rope["rope_type"] != "dynamic" or not alpha:
            return rope
        power = self.head_dim / (self.head_dim - 2)
        return {"rope_type": "default", "rope_theta": rope["rope_theta"] * alpha**power}

    def check_positions(self) -> None:
        rope = dict(self.rope_parameters)
        alpha = rope.pop("alpha", 1.0)
        number = isinstance(alpha, (int, float)) and not isinstance(alpha, bool) and alpha >= 0
        require(number, "rope_parameters.alpha", f"must be a number from 0, not {alpha!r}")
        check_rope(rope, self.head_dim)
        partial = rope.get("partial_rotary_factor", 1.0)
        require(partial == 1.0, "partial_rotary_factor", f"is {partial}; supported: 1.0")
        require(self.head_dim > 2, "head_dim", "must be above 2")
