"""llama.cpp's GGUF files: one file, or a split model's parts."""

from __future__ import annotations

from pathlib import Path

from tfcli.checkpoints.container import Container

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".distcp")


def _looks_like(path: Path) -> bool:
    from tfcli.checkpoints.gguf.read import gguf_file

    if gguf_file(path) is None:
        return False
    # Repositories of GGUF files keep the original's config.json beside them. Where other weights
    # are there too, these are the checkpoint.
    return not (path / "config.json").is_file() or not any(
        file.suffix in _WEIGHTS for file in path.iterdir()
    )


GGUF = Container("gguf", "gguf", _looks_like, files=("*.gguf",), config="inside")
