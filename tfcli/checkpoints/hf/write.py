"""Hugging Face folders with safetensors files."""

from __future__ import annotations

from pathlib import Path

from tfcli.checkpoints.container import WriteOptions, Writer
from tfcli.checkpoints.hf.shards import write_shards
from tfcli.checkpoints.plan import Plan


def write(plan: Plan, folder: Path, options: WriteOptions) -> list[Path]:
    """Write the weights, and an index where there are several files.

    Raises:
        WorkError: as `write_shards`.
    """
    texts = {**plan.view.metadata, "format": "pt"}  # names and axes are Hugging Face's now
    return write_shards(folder, plan.pending(), options.max_shard_bytes, metadata=texts)


WRITER = Writer(write)
