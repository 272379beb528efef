"""Weights in the names and layouts of the repositories that models first came from.

The files are pickled shards with an index, which Google's code for Gemma reads as it does its own.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tfcli.checkpoints.checkpoint import TensorEntry
from tfcli.checkpoints.container import WriteOptions
from tfcli.checkpoints.dialect.dialect import Dialect
from tfcli.checkpoints.hf.safetensors import PendingTensor
from tfcli.checkpoints.hf.source import PICKLED_INDEX
from tfcli.checkpoints.io.casting import cast
from tfcli.checkpoints.io.dtypes import torch_dtype
from tfcli.checkpoints.plan import Plan, Planned
from tfcli.checkpoints.torch.serialize import write_torch_shards
from tfcli.files import write_json

if TYPE_CHECKING:
    from torch import Tensor

_IN_ONE = 1 << 62


def write_original(
    plan: Plan, folder: Path, dialect: Dialect, options: WriteOptions | None = None
) -> list[Path]:
    """Write the weights of a plan in a dialect.

    Args:
        plan: in Hugging Face's terms.
        folder: where the files go.
        dialect: that of the plan's family.
        options: `max_shard_bytes` bounds the files; None makes one.

    Returns:
        The weight files, in order.

    Raises:
        WorkError: tensors that the dialect does not have or that do not fit the config, or as
            `write_torch_shards`.
    """
    shown = {item.tensor.name: _as_planned(item) for item in plan.written}
    pending = [
        PendingTensor(tensor.name, tensor.dtype, tensor.shape, tensor.read)
        for tensor in dialect.from_hf(shown, plan.config).values()
    ]
    limit = _IN_ONE if options is None else options.max_shard_bytes
    files = write_torch_shards(folder, pending, limit)
    if len(files) == 1:  # Google's code looks for an index in every folder
        homes = {item.name: files[0].name for item in pending}
        total = sum(item.nbytes for item in pending)
        index = {"metadata": {"total_size": total}, "weight_map": homes}
        write_json(folder / PICKLED_INDEX, index)
    return files


def _as_planned(item: Planned) -> TensorEntry:
    """A tensor with the type that the plan gives it."""
    read = partial(_cast, item)
    return dataclasses.replace(item.tensor, dtype=item.dtype, read=read)


def _cast(item: Planned) -> Tensor:
    return cast(item.tensor.read(), torch_dtype(item.dtype), item.tensor.name)
