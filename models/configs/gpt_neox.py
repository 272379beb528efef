"""GPT-NeoX's config (transformers: GPTNeoXConfig)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require, require_activation, require_divides
from tfcli.models.configs.rope import check_rope, read_rope, write_rope
from tfcli.models.configs.text import TextConfig

# Today's rotary keys -> those that checkpoints and other tools have.
OLDER = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class GPTNeoXConfig(TextConfig):
    """GPT-NeoX, Pythia and checkpoints of their shape."""

    model_type: ClassVar[str] = "gpt_neox"

    vocab_size: int = 50432
    hidden_size: int = 6144
    num_hidden_layers: int = 44
    num_attention_heads: int = 64
    intermediate_size: int = 24576
    hidden_act: str = "gelu"
    max_position_embeddings: int = 2048
    tie_word_embeddings: bool = False
    attention_bias: bool = True
    attention_dropout: float = 0.0
    hidden_dropout: float = 0.0
    layer_norm_eps: float = 1e-5
    use_parallel_residual: bool = True
    rope_parameters: dict[str, Any] = dataclasses.field(
        default_factory=lambda: {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.25,
        }
    )
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        for key, older in OLDER.items():
            if data.get(older) is not None:
                data[key] = data[older]
            data.pop(older, None)
        data.setdefault("max_position_embeddings", cls.max_position_embeddings)
        data.setdefault("partial_rotary_factor", 0.25)
        data["rope_parameters"] = read_rope(data)
        return data

    def write_keys(self, out: dict[str, Any]) -> dict[str, Any]:
        rope = write_rope(self.rope_parameters)
        return {**out, **{OLDER.get(key, key): value for key, value in rope.items()}}

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        return tuple(sorted({*super().keys(), "rope_scaling", *OLDER, *OLDER.values()}))

    def check(self) -> None:
        super().check()
        require_divides(
            self.num_attention_heads, self.hidden_size, "num_attention_heads", "hidden_size"
        )
        require(self.intermediate_size >= 1, "intermediate_size", "must be at least 1")
        require_activation(self.hidden_act, "hidden_act")
        for key in ("attention_dropout", "hidden_dropout"):
            require(0 <= getattr(self, key) < 1, key, "must be in [0, 1)")
        check_rope(self.rope_parameters, self.head_dim)
