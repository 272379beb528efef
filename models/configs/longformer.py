"""Longformer's config (transformers: LongformerConfig), and what LED's shares with it."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tfcli.models.config import require
from tfcli.models.configs.roberta import RobertaConfig
from tfcli.models.limits import LIMIT


def radius_of(window: list[int] | int, layer: int) -> int:
    """How far a layer sees on each side, by a config's `attention_window`."""
    return (window[layer] if isinstance(window, list) else window) // 2


def check_windows(window: list[int] | int, layers: int) -> None:
    """Refuse windows that are not even, or a list that does not fit the layers."""
    sizes = window if isinstance(window, list) else [window]
    even = all(2 <= size <= LIMIT and size % 2 == 0 for size in sizes)
    require(even, "attention_window", "must be even numbers from 2 on")
    fits = not isinstance(window, list) or len(window) == layers
    require(fits, "attention_window", f"has {len(sizes)} entries for {layers} layers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LongformerConfig(RobertaConfig):
    """Longformer.

    Args:
        attention_window: how many neighbours a token sees, for all layers or for each.
        sep_token_id: ends a question; the tokens before it, or after it, may be chosen.
    """

    model_type: ClassVar[str] = "longformer"

    vocab_size: int = 30522
    attention_window: list[int] | int = 512
    sep_token_id: int | None = 2

    def check(self) -> None:
        super().check()
        check_windows(self.attention_window, self.num_hidden_layers)
