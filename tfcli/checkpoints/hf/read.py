"""Hugging Face folders: tensors as they are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfcli.checkpoints.beside import CONFIG, read_object
from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.hf.safetensors import SafetensorsFile
from tfcli.checkpoints.hf.source import (
    QUANTO_MAP,
    SETTINGS_BESIDE,
    TensorSource,
    open_tensors,
    settings_beside,
    shard_of,
)
from tfcli.checkpoints.io.header import TensorInfo
from tfcli.checkpoints.torch.file import is_torch_file
from tfcli.checkpoints.trainer_folders import find_config
from tfcli.errors import WorkError
from tfcli.stand_ins import refuse_stand_in


def read(path: Path, asked: Reading) -> Checkpoint:
    """A folder with config.json and weights, or a file of weights.

    Raises:
        WorkError: no config.json although one is required, or no weights that are read.
    """
    if path.is_file():
        refuse_stand_in(path)
    config, companions = _config(path, asked)
    if asked.config_required:
        _refuse_part(path)
    source = open_tensors(path)
    config = with_settings_beside(config, path if path.is_dir() else path.parent, source)
    tensors = {info.name: as_stored(source, info) for info in source.infos()}
    unused = {name: f"{what}, beside the weights" for name, what in source.beside.items()}
    return Checkpoint(
        "hf" if path.is_dir() else "torch" if is_torch_file(path) else "safetensors",
        path,
        config,
        tensors,
        tuple(file.path for file in source.files),
        companions=companions,
        unused=unused,
        metadata=header_texts(source),
    )


def _config(path: Path, asked: Reading) -> tuple[dict[str, Any], Path | None]:
    """The config, and the folder that it is in. A file by itself takes the one that it lies in."""
    if not path.is_dir():
        home = path.resolve().parent
        if asked.config_from is None and not asked.config_required and not (home / CONFIG).exists():
            return {}, None
        return find_config(home, asked.config_from or home)
    if not asked.config_required and not (path / CONFIG).exists():
        return {}, path
    return read_object(path, CONFIG), path


def _refuse_part(path: Path) -> None:
    """A shard by itself is no model."""
    found = None if path.is_dir() else shard_of(path.name)
    if found is not None and found[0][1] != "1":
        raise WorkError(
            "the file is one of several that a model is in",
            where=str(path),
            fix=f"name the folder: {path.parent}",
        )


def with_settings_beside(
    config: dict[str, Any], folder: Path, source: TensorSource
) -> dict[str, Any]:
    """The config with what quantizers wrote beside it, where weights are packed so."""
    if not config or "quantization_config" in config:
        return config
    words = any(name.endswith(".qweight") for name in source.names)
    quanto = any(name.endswith((".weight._data", "._data._data")) for name in source.names)
    for name, settings in settings_beside(folder).items() if words or quanto else ():
        if (name == QUANTO_MAP) == quanto:
            said = {"quantization_map": settings} if quanto else settings
            packing = {"quant_method": SETTINGS_BESIDE[name], **said}
            return {**config, "quantization_config": packing}
    return config


def header_texts(source: TensorSource) -> dict[str, str]:
    """What the headers of safetensors files say beside the tensors; the first file counts."""
    found: dict[str, str] = {}
    for file in source.files:
        if isinstance(file, SafetensorsFile):
            found = {**file.metadata, **found}
    return found


def as_stored(source: TensorSource, info: TensorInfo) -> TensorEntry:
    """A tensor of a view that is a stored one, under the same name."""
    read = source.tensor(info.name)
    return TensorEntry(info.name, info.dtype, info.shape, (info.name,), "", read)
