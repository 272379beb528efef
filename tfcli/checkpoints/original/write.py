"""Weights in the names and layouts of the repositories that models first came from.

The files are pickled shards with an index, which Google's code for Gemma reads as it does its own.
"""

from __future__ import annotations

from pathlib import Path

from tfcli.checkpoints.container import WriteOptions
from tfcli.checkpoints.dialect.dialect import Dialect
from tfcli.checkpoints.dialect.ranks import divide
from tfcli.checkpoints.hf.index import index_text
from tfcli.checkpoints.hf.source import PICKLED_INDEX
from tfcli.checkpoints.plan import Plan
from tfcli.checkpoints.torch.serialize import write_torch_shards
from tfcli.files import write_text

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
    (pending,) = divide(plan.tensors, dialect, plan.config, 1)
    limit = _IN_ONE if options is None else options.max_shard_bytes
    files = write_torch_shards(folder, pending, limit)
    if len(files) == 1:  # Google's code looks for an index in every folder
        homes = {item.name: files[0].name for item in pending}
        total = sum(item.nbytes for item in pending)
        path = folder / PICKLED_INDEX
        write_text(path, index_text(homes, total, path))
    return files
