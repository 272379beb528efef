"""One of two checkpoints that are compared, whatever its container."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcli.checkpoints.checkpoint import ViewTensor
from tfcli.checkpoints.containers import WITHOUT_CONFIG, kind_of, open_view
from tfcli.checkpoints.folder import CONFIG, read_object
from tfcli.checkpoints.hf.read import as_stored
from tfcli.checkpoints.hf.source import open_checkpoint
from tfcli.checkpoints.ties import config_ties
from tfcli.errors import ModelError

# What brings its config.json along. The config of others is made from their own, or corrected.
_AS_IT_IS = ("hf", "mlx", "safetensors", "torch")
# What does not change what a model computes, and what they have no place for.
_NO_MATTER = ("dtype", "torch_dtype", "initializer_range")


@dataclass(frozen=True)
class Side:
    """A checkpoint.

    Args:
        kind: its container.
        tensors: under Hugging Face's names; values are made when they are read.
        config: the content of config.json; None where there is none.
        ties: tensor -> the tensor that the config ties it to.
    """

    kind: str
    tensors: Mapping[str, ViewTensor]
    config: dict[str, Any] | None
    ties: dict[str, str]

    @classmethod
    def open(cls, path: Path, config_from: Path | None = None) -> Side:
        """Open a checkpoint of any container, or a file of tensors; headers only.

        Args:
            path: the folder or file.
            config_from: the folder of the config.json, for containers that bring none.

        Raises:
            UsageError: no checkpoint.
            WorkError: a broken file, or a container whose names need a config and that has none.
        """
        kind = kind_of(path)
        if kind in ("hf", "safetensors", "torch"):
            has_config = (path / CONFIG).is_symlink() or (path / CONFIG).exists()
            config = read_object(path, CONFIG) if has_config else None
            source = open_checkpoint(path, writable=False)
            tensors = {info.name: as_stored(source, info) for info in source.infos()}
        else:
            named = config_from if kind in WITHOUT_CONFIG else None
            view = open_view(path, kind, named, config_required=False)
            config, tensors = view.config or None, view.tensors
        return cls(kind, tensors, config, config_ties(config) if config else {})

    def stored(self, name: str) -> str | None:
        """The name under which the tensor is stored: its own, its tied partner's, or None."""
        if name in self.tensors:
            return name
        origin = self.ties.get(name)
        return origin if origin in self.tensors else None


def comparable(a: Side, b: Side) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The configs of both sides; None where one has none.

    Where one is not a config.json as it lies there, both are what their family reads in them, with
    defaults filled in: what a config.json says beyond that, other containers do not hold.
    """
    if a.config is None or b.config is None:
        return None
    if a.kind in _AS_IT_IS and b.kind in _AS_IT_IS:
        return a.config, b.config
    try:
        return _meaning(a.config), _meaning(b.config)
    except ModelError:
        return a.config, b.config


def _meaning(config: Mapping[str, Any]) -> dict[str, Any]:
    from tfcli.models.registry import read_config

    found = read_config(config).replace(extra={}).to_dict()
    return {key: value for key, value in found.items() if key not in _NO_MATTER}
