"""Predict each next token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from tfcli.train.batch import Example
from tfcli.train.feeds.causal import causal_examples
from tfcli.train.objectives.objective import (
    Examples,
    Material,
    Shown,
    TokenObjective,
    shown_next,
)
from tfcli.train.spec import TrainSpec


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
        """Windows of plain texts; of other rows one example a row, or several packed into one."""
        if not material.spec.compile:
            self.length = None  # examples differ in length; a compiled model wants one shape
        return causal_examples(material)

    def shown(self, example: Example) -> Sequence[Shown]:
        """Its window or rows."""
        ids, targets = example["input_ids"], example[self.targets]
        segments = example.get("segment_ids", torch.zeros_like(ids))
        each = segments.unique().tolist()
        return [shown_next(ids[segments == one], targets[segments == one]) for one in each]

    def widest(self, spec: TrainSpec) -> Example:
        """A window, or a row without padding; of packed rows, all are one."""
        ids = torch.zeros(spec.sequence_length, dtype=torch.long)
        example = {"input_ids": ids, self.targets: ids}
        return {**example, "segment_ids": ids} if spec.rows.packing else example
