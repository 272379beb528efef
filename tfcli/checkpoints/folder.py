"""A model of our own from any checkpoint, and a checkpoint from a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.beside import CONFIG, GENERATION_CONFIG, copy_companions
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.containers import is_adapter, open_checkpoint, open_ref
from tfcli.checkpoints.hf.shards import DEFAULT_SHARD_BYTES, write_shards
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.checkpoints.located import located
from tfcli.checkpoints.packed.unpack import runnable
from tfcli.checkpoints.write import verify_written
from tfcli.errors import ModelError
from tfcli.files import write_json
from tfcli.hub import resolve

if TYPE_CHECKING:
    import torch

    from tfcli.models.model import Model
    from tfcli.models.saving import Export


def open_model(ref: str | Path) -> Checkpoint:
    """Open what a user names, as `load_model` does.

    Packed weights that the model core has no kernel for come out dense; `notes` says so. An adapter
    is opened as its base, which `load_model` then puts it on.

    Raises:
        UsageError: no such file, folder or hub model, or an adapter that names no base.
        WorkError: broken files.
    """
    path = resolve(ref)
    if is_adapter(path):
        from tfcli.adapters.folder import open_with_base

        return runnable(open_with_base(path))
    return runnable(open_checkpoint(path))


def open_base(ref: str | Path) -> Checkpoint:
    """The same of what is to be changed: adapters, which are run alone, are refused.

    Raises:
        UsageError, WorkError: as `open_model`.
    """
    return runnable(open_ref(ref))


def load_model(
    source: str | Path | Checkpoint,
    *,
    task: str | None = "causal-lm",
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    attention: str = "sdpa",
    new_head: bool = False,
    seed: int = 0,
    spread: Callable[[Model], object] | None = None,
    filled: Callable[[Model, str], None] | None = None,
) -> Model:
    """Load a model; tensors of the right dtype are read into the memory that they stay in.

    Args:
        source: a checkpoint, or what a user names: a folder, a file or a hub id.
        task: the head; None takes the one that the checkpoint was saved for.
        dtype: of the parameters; None keeps the checkpoint's.
        device: where the model goes.
        attention: name of the attention backend.
        new_head: give the task's head new random values where the checkpoint lacks it.
        seed: of these values.
        spread: called with the model before it has memory, to put adapters on it, which get no
            values here, and to spread its parameters over processes (`fully_shard`,
            `parallelize_module`). Each process then reads what it holds.
        filled: called with the model and the name of each packed linear that is whole, which it
            may replace; see `load_weights`.

    Returns:
        The model, in eval mode.

    Raises:
        UsageError: no such folder or hub model.
        WorkError: broken files.
        ModelError: tensors and config do not belong together, or are not supported.
    """
    from tfcli.models.adapters.walk import bare
    from tfcli.models.loading import build, load_weights
    from tfcli.models.quantized import give_back_dense

    source = runnable(source) if isinstance(source, Checkpoint) else open_model(source)
    config = source.model_config
    try:
        model = build(config, task, attention=attention, at_most=source.most_values)
        if spread is not None:
            if config.quantization is not None:
                give_back_dense(model, source.weights)
            spread(model)
        with bare(model):
            load_weights(
                model,
                source.weights,
                dtype=dtype,
                device=device,
                new_head=new_head,
                seed=seed,
                filled=None if filled is None else partial(filled, model),
            )
    except ModelError as error:
        raise located(error, source.path) from error
    if source.adapter is not None:
        from tfcli.adapters.read import read_adapter

        read_adapter(model, source.adapter)
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
    What was written is read again and compared.

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
        WorkError: the disk is full, the folder cannot be written, or holds other values than the
            model.
    """
    from tfcli.models.saving import export_config, plan_export

    return save_exports(
        plan_export(model, dtype=dtype),
        export_config(model, dtype=dtype),
        folder,
        max_shard_bytes=max_shard_bytes,
        tokenizer_from=tokenizer_from,
        generation_config=generation_config,
    )


def save_exports(
    exports: Sequence[Export],
    config: Mapping[str, Any],
    folder: Path,
    *,
    max_shard_bytes: int = DEFAULT_SHARD_BYTES,
    tokenizer_from: Path | None = None,
    generation_config: dict[str, Any] | None = None,
) -> list[Path]:
    """Write what `plan_export` and `export_config` say of a model; see `save_model`."""
    from tfcli.checkpoints.hf.safetensors import PendingTensor
    from tfcli.checkpoints.io.dtypes import dtype_code, stored_shape

    folder.mkdir(parents=True, exist_ok=True)
    pending = []
    for item in exports:
        code = dtype_code(item.dtype)
        pending.append(PendingTensor(item.name, code, stored_shape(code, item.shape), item.read))
    files = write_shards(folder, pending, max_shard_bytes)
    verify_written(open_tensors(folder), pending)
    if tokenizer_from is not None:
        copy_companions(tokenizer_from, folder)
    if generation_config is not None:
        write_json(folder / GENERATION_CONFIG, generation_config)
    write_json(folder / CONFIG, dict(config))
    return files
