"""Folders of torch.distributed.checkpoint."""

from __future__ import annotations

from pathlib import Path

from tfcli.checkpoints.container import Container


def _looks_like(path: Path) -> bool:
    return (path / ".metadata").is_file()


DCP = Container("dcp", "dcp", _looks_like, config="optional", cut="size")
