"""Configs of Mamba and Mamba 2 (transformers: MambaConfig, Mamba2Config)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

from tfcli.models.config import require, require_activation, require_divides
from tfcli.models.configs.text import TextConfig
from tfcli.models.limits import LIMIT


@dataclasses.dataclass(frozen=True, kw_only=True)
class StateSpaceConfig(TextConfig):
    """What both have. They have no heads of attention and take inputs of any length."""

    num_attention_heads: ClassVar[int] = 1  # type: ignore[misc]
    max_position_embeddings: ClassVar[int] = LIMIT  # type: ignore[misc]

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    state_size: int = 16
    layer_norm_epsilon: float = 1e-5
    expand: int = 2
    conv_kernel: int = 4
    use_bias: bool = False
    use_conv_bias: bool = True
    hidden_act: str = "silu"
    initializer_range: float = 0.1
    residual_in_fp32: bool = True
    time_step_rank: int | str = "auto"
    time_step_min: float = 0.001
    time_step_max: float = 0.1
    time_step_floor: float = 1e-4
    rescale_prenorm_residual: bool = False

    @property
    def intermediate_size(self) -> int:
        """Channels of the state space."""
        return self.expand * self.hidden_size

    @property
    def cached_per_position(self) -> int:
        return 0

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        # Old checkpoints carry what follows from other keys.
        for key in ("intermediate_size", "layer_types"):
            data.pop(key, None)
        return data

    def complete(self) -> None:
        if self.time_step_rank == "auto":
            object.__setattr__(self, "time_step_rank", math.ceil(self.hidden_size / 16))

    def check(self) -> None:
        super().check()
        for key in ("state_size", "expand", "conv_kernel", "time_step_rank"):
            value = getattr(self, key)
            require(isinstance(value, int) and 1 <= value <= LIMIT, key, "must be at least 1")
        require(self.conv_kernel >= 2, "conv_kernel", "must be at least 2")
        require_activation(self.hidden_act, "hidden_act")
        require(
            0 < self.time_step_min <= self.time_step_max,
            "time_step_min",
            "must be above 0 and at most time_step_max",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MambaConfig(StateSpaceConfig):
    """Mamba."""

    model_type: ClassVar[str] = "mamba"

    vocab_size: int = 50280
    hidden_size: int = 768
    num_hidden_layers: int = 32
    pad_token_id: int | None = 0
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 0
    time_step_scale: float = 1.0
    time_step_init_scheme: str = "random"

    def check(self) -> None:
        super().check()
        schemes = ("random", "constant")
        require(
            self.time_step_init_scheme in schemes,
            "time_step_init_scheme",
            f"must be one of {', '.join(schemes)}",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mamba2Config(StateSpaceConfig):
    """Mamba 2."""

    model_type: ClassVar[str] = "mamba2"

    vocab_size: int = 32768
    hidden_size: int = 4096
    num_hidden_layers: int = 64
    state_size: int = 128
    num_heads: int = 128
    head_dim: int = 64
    n_groups: int = 8
    pad_token_id: int | None = 1
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2
    tie_word_embeddings: bool = False
    time_step_limit: list[float] = dataclasses.field(default_factory=lambda: [0.0, math.inf])
    chunk_size: int = 256

    def check(self) -> None:
        super().check()
        require(
            self.num_heads * self.head_dim == self.intermediate_size,
            "num_heads",
            f"times head_dim is {self.num_heads * self.head_dim}, "
            f"but expand times hidden_size is {self.intermediate_size}",
        )
        require_divides(self.n_groups, self.num_heads, "n_groups", "num_heads")
        require(self.chunk_size >= 1, "chunk_size", "must be at least 1")
        check_step_limit(self.time_step_limit)


def check_step_limit(limit: list[float]) -> None:
    """Refuse what is not the least and the largest step of a state space."""
    require(
        len(limit) == 2 and all(isinstance(end, (int, float)) for end in limit),
        "time_step_limit",
        "must be two numbers",
    )
    require(
        0 <= limit[0] < limit[1],
        "time_step_limit",
        "must be two numbers, the smaller first",
    )
