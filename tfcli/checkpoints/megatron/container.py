"""Megatron folders: a file for each tensor-parallel rank."""

from __future__ import annotations

from pathlib import Path

from tfcli.checkpoints.container import Container

_FILES = "mp_rank_*/model_optim_rng.pt"


def _looks_like(path: Path) -> bool:
    if any(path.glob(_FILES)):
        return True
    return (path / "latest_checkpointed_iteration.txt").is_file() and any(path.glob(f"*/{_FILES}"))


MEGATRON = Container("megatron", "megatron", _looks_like, config="needed", cut="parts")
