"""What a writer is told beside the plan."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WriteOptions:
    """How the target is cut into files.

    Args:
        max_shard_bytes: largest file of containers that are cut by size.
        parts: files of containers that are cut for tensor parallelism.
    """

    max_shard_bytes: int
    parts: int = 1
