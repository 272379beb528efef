"""Hugging Face folders with safetensors files or those of torch.save, and such a file by itself."""

from __future__ import annotations

from pathlib import Path

from tfcli.checkpoints.container import Container

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def has_plain_weights(path: Path) -> bool:
    """Whether weights lie there as Hugging Face keeps them.

    Some folders hold the same weights twice. Hugging Face's own then count.
    """
    return any((path / name).exists() for name in (SINGLE, INDEX))


def _is_folder(path: Path) -> bool:
    return path.is_dir()


def _is_file(path: Path) -> bool:
    return path.is_file()


HF = Container(
    "hf", "hf", _is_folder, files=("*.safetensors", "*.safetensors.index.json"), cut="size"
)
SAFETENSORS = Container("safetensors", "hf", _is_file, config="optional")
"""One file; whether it is one, its header says."""
