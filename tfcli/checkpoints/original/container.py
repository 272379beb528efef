"""Files of the repositories that models first came from, such as Google's for Gemma."""

from __future__ import annotations

from pathlib import Path

from tfcli.checkpoints.container import Container


def _looks_like(path: Path) -> bool:
    from tfcli.checkpoints.original.read import is_original

    return is_original(path)


ORIGINAL = Container(
    "original", "original", _looks_like, files=("*.ckpt", "pytorch_model*.bin*"), config="needed"
)
