"""Hugging Face folders: tensors as they are stored."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tfcli.checkpoints.checkpoint import View, ViewTensor
from tfcli.checkpoints.folder import CONFIG, read_object
from tfcli.checkpoints.hf.safetensors import SafetensorsFile
from tfcli.checkpoints.hf.source import TensorSource, open_checkpoint
from tfcli.checkpoints.io.header import TensorInfo


def open_view(path: Path) -> View:
    """The view of a folder with config.json and weights.

    Raises:
        WorkError: no config.json, or no weights that are read.
    """
    config = read_object(path, CONFIG)
    source = open_checkpoint(path, writable=False)
    tensors = {info.name: as_stored(source, info) for info in source.infos()}
    files = tuple(file.path for file in source.files)
    unused = {name: f"{what}, beside the weights" for name, what in source.beside.items()}
    return View(
        "hf",
        path,
        config,
        tensors,
        files,
        companions=path,
        unused=unused,
        metadata=header_texts(source),
    )


def header_texts(source: TensorSource) -> dict[str, str]:
    """What the headers of safetensors files say beside the tensors; the first file counts."""
    found: dict[str, str] = {}
    for file in source.files:
        if isinstance(file, SafetensorsFile):
            found = {**file.metadata, **found}
    return found


def as_stored(source: TensorSource, info: TensorInfo) -> ViewTensor:
    """A tensor of a view that is a stored one, under the same name."""
    read = partial(source.__getitem__, info.name)
    return ViewTensor(info.name, info.dtype, info.shape, (info.name,), "", read)
