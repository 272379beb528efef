"""Files of torch.save: one by itself, or as the weights of a Hugging Face folder."""

from __future__ import annotations

from pathlib import Path

from tfcli.checkpoints.container import Container


def _is_file(path: Path) -> bool:
    from tfcli.checkpoints.torch.file import is_torch_file

    return path.is_file() and is_torch_file(path)


def _is_no_path(path: Path) -> bool:
    return False


TORCH = Container("torch", "hf", _is_file, config="optional")
"""One file; a folder of them is a Hugging Face folder."""

PT = Container(
    "pt",
    "torch",
    _is_no_path,
    files=("pytorch_model.bin", "pytorch_model-*.bin", "pytorch_model.bin.index.json"),
    cut="size",
)
"""The same as a target: a Hugging Face folder with files of torch.save, read as one."""
