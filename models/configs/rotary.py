"""What the configs of decoders with rotary positions and grouped queries share."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from tfcli.models.config import require, require_activation, require_divides
from tfcli.models.configs.rope import check_rope, read_rope, write_rope
from tfcli.models.configs.text import TextConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class RotaryConfig(TextConfig):
    """Sizes, heads and positions, without biases and norms, whose keys differ.

    A subclass gives every size a default.

    Class attributes:
        default_theta: base of the frequencies where config.json gives none.
        default_partial: the fraction of a head that is turned where config.json gives none, in
            families that turn only a part. These take `partial_rotary_factor` out of `fixed`.
        names_head_dim: config.json has `head_dim` even where it follows from `hidden_size`.
    """

    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {"partial_rotary_factor": (1.0, None)}
    default_theta: ClassVar[float] = 10000.0
    default_partial: ClassVar[float | None] = None
    names_head_dim: ClassVar[bool] = False

    intermediate_size: int
    num_key_value_heads: int = 0  # 0: as many as num_attention_heads  # type: ignore[assignment]
    head_dim: int = 0  # 0: hidden_size / num_attention_heads  # type: ignore[assignment]
    hidden_act: str = "silu"
    original_max_position_embeddings: int | None = None
    tie_word_embeddings: bool = False
    attention_dropout: float = 0.0
    rope_parameters: dict[str, Any] = dataclasses.field(
        default_factory=lambda: {"rope_type": "default", "rope_theta": 10000.0}
    )

    @property
    def rms_norm_eps(self) -> float:
        """Added to the mean of squares in norms. Most families have a field instead."""
        return 1e-6

    @property
    def attention_bias(self) -> bool:
        """Whether attention's linears have biases. Many families have a field instead."""
        return False

    @property
    def mlp_bias(self) -> bool:
        """Whether the mlp's linears have biases. Some families have a field instead."""
        return False

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        data.setdefault("max_position_embeddings", cls.max_position_embeddings)
        data["rope_parameters"] = cls.read_positions(data)
        for key in ("num_key_value_heads", "head_dim", "attention_dropout"):
            if data.get(key, 0) is None:
                data[key] = 0
        return data

    def write_keys(self, out: dict[str, Any]) -> dict[str, Any]:
        if not self.names_head_dim and self.head_dim * self.num_attention_heads == self.hidden_size:
            out.pop("head_dim", None)
        return {**out, **self.write_positions()}

    @classmethod
    def read_positions(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Take the rotary keys out of `data`; see `read_rope`."""
        if cls.default_partial is not None and data.get("partial_rotary_factor") is None:
            data["partial_rotary_factor"] = cls.default_partial
        return read_rope(data, default_theta=cls.default_theta)

    def write_positions(self) -> dict[str, Any]:
        """The rotary keys of config.json; see `write_rope`."""
        return write_rope(self.rope_parameters)

    def check_positions(self) -> None:
        """Refuse rotary settings that cannot be computed."""
        check_rope(self.rope_parameters, self.head_dim)
        if "partial_rotary_factor" in self.fixed:
            partial = self.rope_parameters.get("partial_rotary_factor", 1.0)
            require(partial == 1.0, "partial_rotary_factor", f"is {partial}; supported: 1.0")

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        partial = () if cls.default_partial is None else ("partial_rotary_factor",)
        return tuple(sorted({*super().keys(), "rope_theta", "rope_scaling", *partial}))

    def complete(self) -> None:
        if self.num_key_value_heads == 0:
            object.__setattr__(self, "num_key_value_heads", self.num_attention_heads)
        if self.head_dim == 0 and self.num_attention_heads > 0:
            require_divides(
                self.num_attention_heads, self.hidden_size, "num_attention_heads", "hidden_size"
            )
            object.__setattr__(self, "head_dim", self.hidden_size // self.num_attention_heads)

    def check(self) -> None:
        super().check()
        self.check_sizes("intermediate_size")
        require(self.head_dim >= 1, "head_dim", "must be at least 1")
        require_divides(
            self.num_key_value_heads,
            self.num_attention_heads,
            "num_key_value_heads",
            "num_attention_heads",
        )
        require_activation(self.hidden_act, "hidden_act")
        require(0 <= self.attention_dropout < 1, "attention_dropout", "must be in [0, 1)")
        self.check_positions()
