"""Whether checkpoints can be averaged, found out before anything is written."""

from __future__ import annotations

from collections.abc import Sequence

from tfcli.checkpoints.folder import CONFIG
from tfcli.checkpoints.io.dtypes import FLOATS
from tfcli.checkpoints.io.tensor_pieces import same_bits
from tfcli.checkpoints.strict_json import short
from tfcli.checkpoints.write import Checkpoint, require_same_config
from tfcli.errors import UsageError, WorkError


def check_sources(sources: Sequence[Checkpoint]) -> None:
    """Refuse checkpoints that do not belong together.

    Raises:
        UsageError: a quantized checkpoint.
        WorkError: configs, names or shapes that differ, or an integer tensor that does.
    """
    first = sources[0]
    for other in sources:
        if other.is_quantized:
            raise UsageError(
                "packed weights cannot be averaged",
                where=f"{other.folder / CONFIG}, quantization_config",
                fix="name dense checkpoints; tfcli dequantize makes one",
            )
    for other in sources[1:]:
        require_same_config(first, other)
        _require_same_tensors(first, other)
    for name in first.names:
        for other in sources[1:]:
            _require_same_values(name, first, other)


def _require_same_tensors(first: Checkpoint, other: Checkpoint) -> None:
    apart = set(first.names) ^ set(other.names)
    if apart:
        name = min(apart)
        holder, lacking = (first, other) if name in first.source else (other, first)
        raise WorkError(
            f"{short(name)} is in {holder.folder} and not here "
            f"({len(apart)} tensors are on one side only)",
            where=str(lacking.folder),
        )
    for name in first.names:
        ours, theirs = first.source.info(name), other.source.info(name)
        if ours.shape != theirs.shape:
            raise WorkError(
                f"{short(name)} is {list(theirs.shape)} here and {list(ours.shape)} in "
                f"{first.folder}",
                where=str(other.folder),
            )


def _require_same_values(name: str, first: Checkpoint, other: Checkpoint) -> None:
    kinds = first.source.info(name).dtype, other.source.info(name).dtype
    if all(kind in FLOATS for kind in kinds):
        return
    if kinds[0] != kinds[1] or not same_bits(first.source[name], other.source[name]):
        raise WorkError(
            f"{short(name)} differs from the one in {first.folder}, and values of "
            f"{kinds[0]} and {kinds[1]} have no mean",
            where=str(other.folder),
        )
