"""Hugging Face folders with safetensors files."""

from __future__ import annotations

from pathlib import Path

from tfcli.checkpoints.checkpoint import View
from tfcli.checkpoints.hf.shards import write_shards
from tfcli.checkpoints.options import WriteOptions
from tfcli.checkpoints.plan import Plan


def prepare(view: View) -> View:
    """Every view is in Hugging Face's terms already."""
    return view


def write(plan: Plan, folder: Path, options: WriteOptions) -> list[Path]:
    """Write the weights, and an index where there are several files.

    Raises:
        WorkError: as `write_shards`.
    """
    texts = {"format": "pt", **plan.view.metadata}
    return write_shards(folder, plan.pending(), options.max_shard_bytes, metadata=texts)
