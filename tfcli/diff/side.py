"""Opening the two checkpoints that are compared, and what their configs mean side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.containers import BY_NAME, find_container
from tfcli.checkpoints.packed.unpack import PACKINGS, method_of, unpacked
from tfcli.checkpoints.same_config import meaning

# What does not change what a model computes, and what other containers have no place for.
_NO_MATTER = ("dtype", "torch_dtype", "initializer_range")


def open_side(path: Path, config_from: Path | None = None) -> Checkpoint:
    """Open a checkpoint of any container, or a file of tensors; headers only.

    Packed weights come out dense and exact, where their packing is read.

    Args:
        path: the folder or file.
        config_from: the folder of the config.json, for containers that may lack one.

    Raises:
        UsageError: no checkpoint.
        WorkError: a broken file, or a container whose names need a config and that has none.
    """
    container = find_container(path)
    named = config_from if container.takes_config else None
    side = container.read(path, Reading(config_from=named, config_required=False))
    return unpacked(side, lambda name: True) if method_of(side) in PACKINGS else side


def stored_name(side: Checkpoint, name: str) -> str | None:
    """The name under which a tensor is stored: its own, its tied partner's, or None."""
    if name in side.tensors:
        return name
    origin = side.ties.get(name)
    return origin if origin in side.tensors else None


def comparable(a: Checkpoint, b: Checkpoint) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The configs of both sides; None where one has none.

    They are what their family reads in them, with defaults filled in: two spellings of a setting
    are one. Where one is made from a container's own words, what these cannot say is left out.
    """
    if not a.config or not b.config:
        return None
    left_out = () if _has_config_json(a) and _has_config_json(b) else _NO_MATTER
    first, second = (
        {key: value for key, value in meaning(side.config).items() if key not in left_out}
        for side in (a, b)
    )
    return first, second


def _has_config_json(side: Checkpoint) -> bool:
    return BY_NAME[side.container].config == "folder"
