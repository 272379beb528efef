"""DeepSpeed's ZeRO folders."""

from __future__ import annotations

from pathlib import Path

from tfcli.checkpoints.container import Container
from tfcli.checkpoints.hf.container import has_plain_weights

_FILES = "*zero_pp_rank_*_optim_states.pt"


def _looks_like(path: Path) -> bool:
    if any(path.glob(_FILES)):
        return True
    return not has_plain_weights(path) and any(path.glob(f"*/{_FILES}"))


ZERO = Container("zero", "zero", _looks_like, config="optional")
