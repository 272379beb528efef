"""Phi-3's config (transformers: Phi3Config)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require
from tfcli.models.configs.rotary import RotaryConfig
from tfcli.models.configs.windows import check_window

_OLD_SCALING = ("short_factor", "long_factor")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phi3Config(RotaryConfig):
    """Phi-3, 3.5 and 4. Positions are stretched by LongRoPE or not at all."""

    model_type: ClassVar[str] = "phi3"
    # No implementation uses embd_pdrop, so only its 0 is honest.
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {"embd_pdrop": (0.0, None)}
    default_partial: ClassVar[float | None] = 1.0

    vocab_size: int = 32064
    hidden_size: int = 3072
    intermediate_size: int = 8192
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    max_position_embeddings: int = 4096
    original_max_position_embeddings: int | None = 4096
    rms_norm_eps: float = 1e-5
    sliding_window: int | None = None
    resid_pdrop: float = 0.0
    pad_token_id: int | None = 32000
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 32000

    def window(self, layer: int) -> int | None:
        return self.sliding_window

    @classmethod
    def read_positions(cls, data: dict[str, Any]) -> dict[str, Any]:
        data.setdefault("original_max_position_embeddings", cls.original_max_position_embeddings)
        rope = super().read_positions(data)
        if rope["rope_type"] in ("su", "yarn"):  # what the first files called LongRoPE
            data["rope_scaling"] = {**rope, "rope_type": "longrope"}
            rope = super().read_positions(data)
        return rope

    def write_positions(self) -> dict[str, Any]:
        written = super().write_positions()
        scaling = written["rope_scaling"]
        told_elsewhere = {"rope_type", "original_max_position_embeddings", "partial_rotary_factor"}
        if scaling is not None and set(scaling) - told_elsewhere == set(_OLD_SCALING):
            # transformers 4 takes these three keys and no other.
            written["rope_scaling"] = {"type": "longrope"} | {
                key: scaling[key] for key in _OLD_SCALING
            }
        return written

    def check(self) -> None:
        super().check()
        check_window(self.sliding_window)
        rope_type = self.rope_parameters["rope_type"]
        require(
            rope_type in ("default", "longrope"),
            "rope_parameters.rope_type",
            f"is {rope_type!r}; Phi-3 has default and longrope",
        )
        require(0 <= self.resid_pdrop < 1, "resid_pdrop", "must be in [0, 1)")
