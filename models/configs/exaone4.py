"""EXAONE 4's config (transformers: Exaone4Config)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.config import require
from tfcli.models.configs.windows import SLIDING, PatternConfig
from tfcli.models.limits import LIMIT


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exaone4Config(PatternConfig):
    """EXAONE 4. Where some layers have a window, those without one have no positions.

    `sliding_window_pattern` may also be a text, an L for each layer with a window and a G for
    each without, over and over.
    """

    model_type: ClassVar[str] = "exaone4"
    default_pattern: ClassVar[int] = 4

    vocab_size: int = 102400
    hidden_size: int = 4096
    intermediate_size: int = 16384
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = 32
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-5
    sliding_window_pattern: int | str | None = 4  # type: ignore[assignment]
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2

    def rotates(self, layer: int) -> bool:
        """Whether a layer has positions."""
        return self.sliding_window is None or self.kind(layer) == SLIDING

    def check(self) -> None:
        super().check()
        pattern = self.sliding_window_pattern
        within = not isinstance(pattern, int) or pattern <= LIMIT
        require(within, "sliding_window_pattern", f"is {pattern}, more than {LIMIT:,}")

    def slides(self, layer: int) -> bool:
        pattern = self.sliding_window_pattern
        if not self.has_windows:
            return False
        if not isinstance(pattern, str):
            return super().slides(layer)
        letters = bool(pattern) and not set(pattern) - {"L", "G"}
        require(letters, "sliding_window_pattern", f"is {pattern!r}; it must have L and G only")
        return pattern[layer % len(pattern)] == "L"
