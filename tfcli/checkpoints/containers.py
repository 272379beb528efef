"""The containers, and opening a checkpoint of any of them.

Which one a path is, is found from what it holds and never from a name alone.
"""

from __future__ import annotations

from pathlib import Path

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.container import Container, Reading
from tfcli.checkpoints.dcp.container import DCP
from tfcli.checkpoints.flagai.container import FLAGAI
from tfcli.checkpoints.gguf.container import GGUF
from tfcli.checkpoints.hf.container import HF, SAFETENSORS
from tfcli.checkpoints.megatron.container import MEGATRON
from tfcli.checkpoints.meta.container import META
from tfcli.checkpoints.mlx.container import MLX
from tfcli.checkpoints.original.container import ORIGINAL
from tfcli.checkpoints.torch.container import PT, TORCH
from tfcli.checkpoints.zero.container import ZERO
from tfcli.errors import UsageError
from tfcli.hub import resolve

# The first that says yes is taken, so those with a mark of their own come before those that are
# known by lacking one, and those that names tell before those that files do: Llama 3.2 Vision lies
# in folders as Meta's others do.
CONTAINERS = (
    GGUF,
    ORIGINAL,
    TORCH,
    SAFETENSORS,
    META,
    DCP,
    ZERO,
    MEGATRON,
    FLAGAI,
    MLX,
    HF,
    PT,
)
BY_NAME = {container.name: container for container in CONTAINERS}
ADAPTER_CONFIG = "adapter_config.json"
TARGETS = {container.name: container for container in CONTAINERS if container.cut is not None}


def is_adapter(path: Path) -> bool:
    """Whether a folder holds changes to a checkpoint, and not one itself."""
    return (path / ADAPTER_CONFIG).is_file() and not (path / "config.json").is_file()


def find_container(path: Path) -> Container:
    """The container of a checkpoint.

    Raises:
        UsageError: there is none of a kind that is read.
    """
    if is_adapter(path):
        raise UsageError(
            f"{path} is an adapter: changes to a checkpoint, and not one itself",
            where="source",
            fix="work it into its base first: tfcli merge BASE ADAPTER OUTPUT",
        )
    for container in CONTAINERS:
        if container.looks_like(path):
            return container
    raise UsageError(
        f"no checkpoint is at {path}",
        where="source",
        fix=f"name a file or a folder of one of these kinds: {', '.join(BY_NAME)}",
    )


def open_checkpoint(path: Path, asked: Reading | None = None) -> Checkpoint:
    """Open a checkpoint of any container; headers are read, data is not.

    Args:
        path: a folder or a file.
        asked: where its config is, and how values are wanted.

    Raises:
        UsageError: no checkpoint, or a config is named for one that brings its own.
        WorkError: the files are broken.
    """
    asked = asked or Reading()
    container = find_container(path)
    if asked.config_from is not None and not container.takes_config:
        raise UsageError(
            f"{path} brings its own config ({container.name})",
            where="config_from",
            fix="leave it out",
        )
    return container.read(path, asked)


def open_ref(ref: str | Path, asked: Reading | None = None) -> Checkpoint:
    """Open what a user names: a folder, a file, or a hub id.

    Raises:
        UsageError: as `tfcli.hub.resolve` and `open_checkpoint`.
        WorkError: as these.
    """
    return open_checkpoint(resolve(ref), asked)
