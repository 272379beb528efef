"""Predict each next token."""

from __future__ import annotations

from typing import Any, ClassVar

from tfcli.train.feeds.text import read_text
from tfcli.train.feeds.windows import StreamSource, Windows
from tfcli.train.objectives.objective import Examples, Material, TokenObjective


class CausalLM(TokenObjective):
    """Examples have `input_ids` and `targets`, the token that follows each, -100 where nothing is
    to be learned. All logits are never in memory at once."""

    task: ClassVar[str] = "causal-lm"
    targets: ClassVar[str] = "targets"
    options: ClassVar[dict[str, Any]] = {"return_logits": False}

    def __init__(self, length: int | None = None) -> None:
        # No token sees what stands after it, so it does not matter what rows are filled up with.
        super().__init__({"input_ids": 0, "segment_ids": -1}, length)

    def feed(self, material: Material) -> Examples:
        """Windows of the texts."""
        spec = material.spec
        text = read_text(spec, material.tokenizer, material.console)
        held_out = text.validation
        return Examples(
            StreamSource(text.stream, spec.sequence_length, spec.seed),
            None if held_out is None else Windows.cut(held_out, spec.sequence_length),
        )
