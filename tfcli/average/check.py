"""Whether checkpoints can be averaged, found out before anything is written."""

from __future__ import annotations

from collections.abc import Sequence

from tfcli.checkpoints.beside import CONFIG
from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.io.dtypes import FLOATS
from tfcli.checkpoints.io.tensor_pieces import same_bits
from tfcli.checkpoints.same_config import require_same_config
from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.ties import require_ties
from tfcli.errors import UsageError, WorkError


def check_configs(sources: Sequence[Checkpoint]) -> None:
    """Refuse checkpoints that are quantized, or whose configs do not mean the same.

    Raises:
        UsageError: a quantized checkpoint.
        WorkError: configs that differ.
    """
    first = sources[0]
    for other in sources:
        require_ties(other)
        if other.is_quantized:
            raise UsageError(
                "packed weights cannot be averaged",
                where=f"{other.path / CONFIG}, quantization_config",
                fix="name dense checkpoints; tfcli dequantize makes one",
            )
    for other in sources[1:]:
        require_same_config(first, other)


def check_tensors(sources: Sequence[Checkpoint]) -> None:
    """Refuse tensors that have no mean.

    Args:
        sources: with names that are spelt alike.

    Raises:
        WorkError: names or shapes that differ, or an integer tensor that does.
    """
    first = sources[0]
    for other in sources[1:]:
        _require_same_tensors(first, other)
    for name in first.distinct:
        for other in sources[1:]:
            _require_same_values(name, first, other)


def _require_same_tensors(first: Checkpoint, other: Checkpoint) -> None:
    apart = set(first.distinct) ^ set(other.distinct)
    if apart:
        name = min(apart)
        holder, lacking = (first, other) if name in first.tensors else (other, first)
        raise WorkError(
            f"{short(name)} is in {holder.path} and not here "
            f"({len(apart)} tensors are on one side only)",
            where=str(lacking.path),
        )
    for name in first.distinct:
        ours, theirs = first.tensors[name], other.tensors[name]
        if ours.shape != theirs.shape:
            raise WorkError(
                f"{short(name)} is {list(theirs.shape)} here and {list(ours.shape)} in "
                f"{first.path}",
                where=str(other.path),
            )


def _require_same_values(name: str, first: Checkpoint, other: Checkpoint) -> None:
    ours, theirs = first.tensors[name], other.tensors[name]
    kinds = ours.dtype, theirs.dtype
    if all(kind in FLOATS for kind in kinds):
        return
    if kinds[0] != kinds[1] or not same_bits(ours.values, theirs.values):
        raise WorkError(
            f"{short(name)} differs from the one in {first.path}, and values of "
            f"{kinds[0]} and {kinds[1]} have no mean",
            where=str(other.path),
        )
