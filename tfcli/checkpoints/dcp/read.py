"""torch.distributed.checkpoint folders (FSDP and others): tensors put together from their chunks.

Read without torch.distributed: `.metadata` says where each chunk lies, and a chunk is a small
archive of torch.save inside a `.distcp` file. Which items are the model's weights:

1. Items below a key of a training's state, such as `optimizer` or `lr_scheduler`, and those that
   are no tensors are left out.
2. While everything that remains is under one key `app`, `state_dict`, `model`, `module` or
   `model_state_dict`, that key goes.
3. The names of wrapping modules go, see `training.unwrap`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.dcp.metadata import METADATA, Chunk, Stored, read_metadata
from tfcli.checkpoints.io.opened import OpenedFile
from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.torch.file import TorchFile
from tfcli.checkpoints.torch.pickle.tree import TRAINING, WRAPPERS
from tfcli.checkpoints.trainer_folders import find_config, unwrap, with_stored_dtype
from tfcli.errors import WorkError

if TYPE_CHECKING:
    from torch import Tensor


_STATE = (*TRAINING, "dataloader", "epoch", "step", "train")
_WRAPPERS = {*WRAPPERS, "app"}
_Opened = Mapping[Path, OpenedFile]


def read(path: Path, asked: Reading) -> Checkpoint:
    """The view of a folder with .metadata and .distcp files.

    Args:
        path: the folder.
        asked: where the config is.

    Raises:
        WorkError: no config.json, a broken .metadata, files that are missing or too short, or no
            weights.
    """
    config, companions = find_config(path, asked.config_from, required=asked.config_required)
    found = read_metadata(path)
    groups = Counter(part for part in map(_training_part, found) if part is not None)
    unused = {part: f"state of the training, {count} items" for part, count in groups.items()}
    left = [item for item in found if _training_part(item) is None]
    unused |= {item.name: "no tensor" for item in left if not item.dtype}
    weights = {item.name: item.path for item in left if item.dtype}
    if not weights:
        raise WorkError(f"{len(found)} items, and none is a model's weight", where=str(path))
    while len(tops := {keys[0] for keys in weights.values()}) == 1 and tops <= _WRAPPERS:
        if any(len(keys) < 2 for keys in weights.values()):
            break
        weights = {name: keys[1:] for name, keys in weights.items()}
    joined = {name: ".".join(keys) for name, keys in weights.items()}
    names = unwrap(joined.values(), config)
    items = {item.name: item for item in found}
    held = sorted({chunk.file for item in found for chunk in item.chunks})
    opened = {file: OpenedFile(file) for file in held}
    tensors = {}
    for stored, middle in joined.items():
        tensor = _tensor(items[stored], names[middle], opened)
        tensors[tensor.name] = tensor
    files = tuple(sorted({path / METADATA, *held}))
    config = with_stored_dtype(config, tensors.values())
    return Checkpoint("dcp", path, config, tensors, files, companions=companions, unused=unused)


def _training_part(item: Stored) -> str | None:
    """The part of a training's state that an item belongs to, such as `optimizer`; None: none."""
    # Where the state was saved flat, the name's own parts are looked at.
    parts = (item.path if len(item.path) > 1 else item.name.split("."))[:-1]
    place = next((n for n, part in enumerate(parts[:2]) if part.startswith(_STATE)), None)
    return None if place is None else ".".join(parts[: place + 1])


def _tensor(item: Stored, name: str, opened: _Opened) -> TensorEntry:
    pieces = [chunk for chunk in item.chunks if math.prod(chunk.sizes)]
    how = f"{len(pieces)} chunks put together" if len(pieces) > 1 else ""
    return TensorEntry(
        name, item.dtype, item.shape, (item.name,), how, partial(_read, item, pieces, opened)
    )


def _read(item: Stored, pieces: list[Chunk], opened: _Opened) -> Tensor:
    import torch

    from tfcli.checkpoints.io.dtypes import torch_dtype

    if len(pieces) == 1:
        return _load(item, pieces[0], opened)
    out = torch.empty(item.shape, dtype=torch_dtype(item.dtype))
    for chunk in pieces:
        box = tuple(slice(o, o + s) for o, s in zip(chunk.offsets, chunk.sizes, strict=True))
        out[box] = _load(item, chunk, opened)
    return out


def _load(item: Stored, chunk: Chunk, opened: _Opened) -> Tensor:
    file = TorchFile(opened[chunk.file], (chunk.start, chunk.length))
    info = file.tensors.get("tensor")
    if info is None or (info.dtype, info.shape) != (item.dtype, chunk.sizes):
        held = "no tensor" if info is None else f"{info.dtype} {list(info.shape)}"
        raise WorkError(
            f"the chunk of {short(item.name)} at byte {chunk.start} is {held}; {METADATA} says "
            f"{item.dtype} {list(chunk.sizes)}",
            where=str(chunk.file),
        )
    return file.read("tensor")
