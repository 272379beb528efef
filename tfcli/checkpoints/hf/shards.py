"""Weights in one file or in several of a given size, named as on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tfcli.checkpoints.hf.index import index_text
from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
from tfcli.checkpoints.hf.source import INDEX, SINGLE
from tfcli.checkpoints.io.disk import require_space
from tfcli.files import write_text

DEFAULT_SHARD_BYTES = 5_000_000_000
MOST_TENSORS = 20_000
"""Of one file. Mixtures have more, and whoever reads a file bounds the memory of its header."""


def plan_shards(tensors: Iterable[PendingTensor], max_bytes: int) -> list[list[PendingTensor]]:
    """Divide tensors, in their order, into shards of at most `max_bytes` of data.

    A tensor that is larger than that has a shard to itself. No shard has more tensors than every
    reader here takes, of safetensors' headers and of pickles.
    """
    shards: list[list[PendingTensor]] = []
    room = 0
    for tensor in tensors:
        if not shards or tensor.nbytes > room or len(shards[-1]) == MOST_TENSORS:
            shards.append([])
            room = max_bytes
        shards[-1].append(tensor)
        room -= tensor.nbytes
    return shards


def shard_names(count: int) -> list[str]:
    """File names for `count` shards: `model.safetensors`, or `model-00001-of-00003.safetensors`."""
    if count <= 1:
        return [SINGLE]
    return [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]


def write_shards(
    folder: Path,
    tensors: Sequence[PendingTensor],
    max_shard_bytes: int = DEFAULT_SHARD_BYTES,
    *,
    metadata: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write tensors to `folder` as one file, or as shards with an index.

    The index comes last, so that a folder with an index has all of its shards.

    Args:
        folder: where they go.
        tensors: what to write.
        max_shard_bytes: the most data in a file, but for a tensor that is larger by itself.
        metadata: texts for the header of every file, see `write_safetensors`.

    Returns:
        The weight files, in order.

    Raises:
        WorkError: as `write_safetensors`; a full disk is found before anything is written.
    """
    total = sum(tensor.nbytes for tensor in tensors)
    require_space(folder, total)
    shards = plan_shards(tensors, max_shard_bytes) or [[]]
    names = shard_names(len(shards))
    homes = {t.name: name for name, shard in zip(names, shards, strict=True) for t in shard}
    index = index_text(homes, total, folder / INDEX) if len(shards) > 1 else None
    for name, shard in zip(names, shards, strict=True):
        write_safetensors(folder / name, shard, metadata)
    if index is not None:
        write_text(folder / INDEX, index)
    return [folder / name for name in names]
