"""What the configs of decoders with latent attention share."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.rotary import RotaryConfig
from tfcli.models.limits import LIMIT


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatentConfig(RotaryConfig):
    """Sizes of latent states and of the parts of a head; see `layers.latent_attention`.

    `head_dim` is the part of a head that is turned, `qk_rope_head_dim`, as in transformers.
    """

    names_head_dim: ClassVar[bool] = True

    q_lora_rank: int | None = 1536
    kv_lora_rank: int = 512
    qk_rope_head_dim: int = 64
    qk_nope_head_dim: int = 128
    v_head_dim: int = 128

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        for key in ("head_dim", "qk_head_dim"):  # both follow from other keys
            data.pop(key, None)
        return super().read_keys(data)

    def write_keys(self, out: dict[str, Any]) -> dict[str, Any]:
        return {**super().write_keys(out), "qk_head_dim": self.qk_head_dim}

    @property
    def rope_interleave(self) -> bool:
        """Whether positions turn neighbouring dimensions. V3 has a field instead."""
        return True

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

    def complete(self) -> None:
        turned = self.qk_rope_head_dim  # is the size that the rotation is told
        require(1 <= turned <= LIMIT, "qk_rope_head_dim", f"is {turned:,}, not 1 to {LIMIT:,}")
        object.__setattr__(self, "head_dim", self.qk_rope_head_dim)
        super().complete()

    def check(self) -> None:
        super().check()
        self.check_sizes("kv_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim")
        require(self.q_lora_rank is None or self.q_lora_rank >= 1, "q_lora_rank", "is below 1")
        require(
            self.num_key_value_heads == self.num_attention_heads,
            "num_key_value_heads",
            "must be num_attention_heads: every head makes its keys from the latent state",
        )
        rope = self.rope_parameters
        if rope["rope_type"] != "default" and rope.get("mscale_all_dim"):
            require("factor" in rope, "rope_parameters.factor", "is required by mscale_all_dim")
