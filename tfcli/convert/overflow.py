"""Families whose activations float16 does not hold, whatever their weights are.

A weight that is too large for float16 is refused while it is cast. What a model computes is not
seen then: these families were trained in bfloat16 or float32, and their hidden states grow beyond
65,504, float16's largest number, so that a model whose every tensor was converted exactly answers
NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfcli.console import Console

OVERFLOWING = frozenset({"gemma", "gemma2", "gemma3_text", "t5", "mt5", "t5gemma"})
"""model_type of those that are known to."""


def warn_of_overflow(config: Mapping[str, Any], console: Console) -> None:
    """Say it where a checkpoint of such a family is about to become float16."""
    nested = config.get("text_config")
    kinds = [config.get("model_type"), nested.get("model_type") if isinstance(nested, dict) else ""]
    known = [kind for kind in kinds if kind in OVERFLOWING]
    if known:
        console.warn(
            f"{known[0]} models compute values beyond what fp16 holds (65,504): one that runs in "
            "fp16 may answer NaN. --dtype bf16 keeps it finite"
        )
