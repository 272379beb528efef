"""Meta's original files: consolidated.*.pth and params.json."""

from __future__ import annotations

from pathlib import Path

from tfcli.checkpoints.container import Container
from tfcli.checkpoints.hf.container import has_plain_weights


def _looks_like(path: Path) -> bool:
    if has_plain_weights(path):
        return False
    return (path / "params.json").is_file() and any(path.glob("consolidated*"))


META = Container(
    "meta",
    "meta",
    _looks_like,
    files=("params.json", "consolidated*", "tokenizer.model"),
    config="inside",
    cut="parts",
)
