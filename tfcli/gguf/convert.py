"""Conversions between Hugging Face checkpoints and GGUF files: what commands call."""

from __future__ import annotations

from tfcli.gguf.from_gguf import (
    FolderResult,
    FromGGUF,
    from_gguf,
    plan_from_gguf,
    run_from_gguf,
)
from tfcli.gguf.to_gguf import GGUFResult, ToGGUF, plan_to_gguf, run_to_gguf, to_gguf

__all__ = [
    "FolderResult",
    "FromGGUF",
    "GGUFResult",
    "ToGGUF",
    "from_gguf",
    "plan_from_gguf",
    "plan_to_gguf",
    "run_from_gguf",
    "run_to_gguf",
    "to_gguf",
]
