"""Hugging Face folders with files of torch.save."""

from __future__ import annotations

from pathlib import Path

from tfcli.checkpoints.container import WriteOptions, Writer
from tfcli.checkpoints.plan import Plan
from tfcli.checkpoints.torch.serialize import write_torch_shards


def write(plan: Plan, folder: Path, options: WriteOptions) -> list[Path]:
    """Write the weights, and an index where there are several files.

    Raises:
        WorkError: as `write_torch_shards`.
    """
    return write_torch_shards(folder, plan.pending(), options.max_shard_bytes)


WRITER = Writer(write)
