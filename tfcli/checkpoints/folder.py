"""Hugging Face checkpoint folders: config.json, weights, and the files that go with them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.shards import DEFAULT_SHARD_BYTES, write_shards
from tfcli.checkpoints.source import open_checkpoint
from tfcli.checkpoints.strict_json import MAX_BYTES, parse_object
from tfcli.errors import ModelError, WorkError
from tfcli.files import inside, read_bounded, write_json
from tfcli.hub import resolve
from tfcli.tokenizers.files import find_companions, lost_modules

if TYPE_CHECKING:
    import torch

    from tfcli.console import Console
    from tfcli.models.config import ModelConfig
    from tfcli.models.model import Model

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"


def read_object(folder: Path, name: str) -> dict[str, Any]:
    """The JSON object in a file of a checkpoint folder.

    Raises:
        WorkError: missing, leading outside the folder, or not valid JSON; names the file.
    """
    path = inside(folder, name)
    if not path.exists():
        raise WorkError(
            f"the folder has no {name}",
            where=str(folder),
            fix="name a Hugging Face checkpoint folder" if name == CONFIG else None,
        )
    return parse_object(read_bounded(path, MAX_BYTES), where=str(path), finite=False)


def load_config(folder: Path) -> ModelConfig:
    """The config of a checkpoint folder, as its family's dataclass.

    Raises:
        WorkError: no readable config.json.
        ModelError: an unknown model_type or a value that is not supported; names the file.
    """
    from tfcli.models.registry import read_config

    data = read_object(folder, CONFIG)
    try:
        return read_config(data)
    except ModelError as error:
        raise _located(error, folder) from error


def load_generation_config(folder: Path) -> dict[str, Any]:
    """The content of generation_config.json; empty when the folder has none.

    Raises:
        WorkError: the file is there and cannot be read.
    """
    return read_object(folder, GENERATION_CONFIG) if (folder / GENERATION_CONFIG).exists() else {}


def load_model(
    ref: str | Path,
    *,
    task: str | None = "causal-lm",
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    attention: str = "sdpa",
    new_head: bool = False,
    seed: int = 0,
) -> Model:
    """Load a model for inference; tensors of the right dtype stay in the mapped file.

    Args:
        ref: a checkpoint folder or a hub id, see `tfcli.hub.resolve`.
        task: the head; None takes the one that the checkpoint was saved for.
        dtype: of the parameters; None keeps the checkpoint's.
        device: where the model goes.
        attention: name of the attention backend.
        new_head: give the task's head new random values where the checkpoint lacks it.
        seed: of these values.

    Returns:
        The model, in eval mode.

    Raises:
        UsageError: no such folder or hub model.
        WorkError: broken files.
        ModelError: tensors and config do not belong together, or are not supported.
    """
    from tfcli.models.loading import build, load_weights

    folder = resolve(ref)
    config = load_config(folder)
    source = open_checkpoint(folder)
    try:
        model = build(config, task, attention=attention)
        load_weights(model, source, dtype=dtype, device=device, new_head=new_head, seed=seed)
    except ModelError as error:
        raise _located(error, folder) from error
    return model.eval()


def save_model(
    model: Model,
    folder: Path,
    *,
    dtype: torch.dtype | None = None,
    max_shard_bytes: int = DEFAULT_SHARD_BYTES,
    tokenizer_from: Path | None = None,
    generation_config: dict[str, Any] | None = None,
) -> list[Path]:
    """Write a model as a Hugging Face folder that transformers loads.

    Weights are written one at a time: memory grows by one tensor. Tied tensors are written once.

    Args:
        model: on any device.
        folder: made when it is not there.
        dtype: of floating-point parameters; None keeps theirs.
        max_shard_bytes: the largest weight file; a single larger tensor has a file to itself.
        tokenizer_from: a folder whose tokenizer, chat template and generation config go along.
        generation_config: written as generation_config.json, over the one of `tokenizer_from`.

    Returns:
        The weight files.

    Raises:
        WorkError: the disk is full or the folder cannot be written.
    """
    from tfcli.checkpoints.dtypes import dtype_code, stored_shape
    from tfcli.checkpoints.safetensors import PendingTensor
    from tfcli.models.saving import export_config, plan_export

    folder.mkdir(parents=True, exist_ok=True)
    pending = []
    for item in plan_export(model, dtype=dtype):
        code = dtype_code(item.dtype)
        pending.append(PendingTensor(item.name, code, stored_shape(code, item.shape), item.read))
    files = write_shards(folder, pending, max_shard_bytes)
    if tokenizer_from is not None:
        copy_companions(tokenizer_from, folder)
    if generation_config is not None:
        write_json(folder / GENERATION_CONFIG, generation_config)
    write_json(folder / CONFIG, export_config(model, dtype=dtype))
    return files


def copy_companions(source: Path, target: Path) -> list[str]:
    """Copy the tokenizer, chat template, processor and generation files of a checkpoint.

    Returns:
        The names of the files that were there and were copied, such as `1_Pooling/config.json`.

    Raises:
        WorkError: one is a link that leads outside its folder, no file, or far too large.
    """
    names = find_companions(source)
    for name in names:
        place = inside(target, name)
        if not place.exists() or not (source / name).samefile(place):
            place.parent.mkdir(exist_ok=True)
            shutil.copyfile(source / name, place)
    return names


def warn_of_lost_modules(source: Path, copied: Sequence[str], console: Console) -> None:
    """Say which parts of a sentence-transformers model were not among the files `copied`."""
    lost = lost_modules(source, copied)
    if lost:
        console.warn(
            f"{', '.join(lost)} is not taken along, though modules.json needs its folder: of a "
            "module's weights, only model.safetensors is"
        )


def _located(error: ModelError, folder: Path) -> ModelError:
    # The model core knows no paths; a user with several checkpoints needs one.
    where = f"{folder}: {error.where}" if error.where else str(folder)
    return type(error)(error.what, where=where, fix=error.fix)
