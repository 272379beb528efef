"""llama.cpp's GGUF files: one file, or a split model's parts."""

from __future__ import annotations

from pathlib import Path

from tfcli.checkpoints.container import Container


def _looks_like(path: Path) -> bool:
    from tfcli.checkpoints.gguf.read import gguf_file

    return not (path / "config.json").is_file() and gguf_file(path) is not None


GGUF = Container("gguf", "gguf", _looks_like, files=("*.gguf",), config="inside")
