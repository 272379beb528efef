"""Writing a GGUF file that is planned, and reading it back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tfcli.checkpoints.gguf.compare import require_equal, require_same_bytes
from tfcli.checkpoints.gguf.file import GGUFFile
from tfcli.checkpoints.gguf.file_write import PendingGGUF, Value, encode_value, write_gguf
from tfcli.checkpoints.gguf.plan import Target, ToGGUF
from tfcli.errors import WorkError

if TYPE_CHECKING:
    from torch import Tensor


def _nothing() -> None:
    pass


def write(planned: ToGGUF, out_file: Path, advance: Callable[[], None] = _nothing) -> int:
    """Write what was planned.

    Args:
        planned: what.
        out_file: replaced in one step when it exists.
        advance: called before each tensor.

    Returns:
        The file's size in bytes.

    Raises:
        WorkError: no room; values that do not fit the type; an output matrix that is left out and
            is not the embedding.
    """

    def parts(target: Target) -> Iterable[Tensor]:
        advance()
        return target.parts()

    metadata = {**planned.metadata, **planned.late()}
    pending = [
        PendingGGUF(target.name, target.dtype, target.shape, partial(parts, target))
        for target in planned.targets
    ]
    return write_gguf(out_file, metadata, pending)


def verify(
    planned: ToGGUF, out_file: Path, advance: Callable[[], None] = _nothing
) -> dict[str, float]:
    """Read the file back: every tensor is what was planned, every key is there.

    Args:
        planned: what was written.
        out_file: where.
        advance: called before each tensor.

    Returns:
        name -> the largest relative difference of a value, for tensors that have any.

    Raises:
        WorkError: the file holds something else.
    """
    written = GGUFFile(out_file)
    if set(written.tensors) != {target.name for target in planned.targets}:
        raise WorkError("the file holds other tensors than planned", where=str(out_file))
    for key, item in planned.metadata.items():
        found = Value(written.types.get(key, ""), written.metadata.get(key))
        if found.kind != item.kind or encode_value(key, found) != encode_value(key, item):
            raise WorkError(f"{key} is not in the file as planned", where=str(out_file))
    worst = {}
    for target in planned.targets:
        advance()
        error = _compare(target, written, f"{out_file}: {target.name}")
        if error:
            worst[target.name] = error
    return worst


def _compare(target: Target, written: GGUFFile, where: str) -> float:
    info = written.info(target.name)
    if (info.dtype, info.shape) != (target.dtype, target.shape):
        raise WorkError("the file has another type or shape than planned", where=where)
    if not info.elements:
        return 0.0
    stored = written.tensor(target.name)
    rows = stored.reshape(-1, stored.shape[-1] if stored.shape else 1)
    start, worst = 0, 0.0
    for part in target.parts():
        expected = part.reshape(-1, rows.shape[1] if target.kept else target.width)
        stop = start + len(expected)
        if target.kept:
            require_same_bytes(expected, rows.rows(start, stop), where)
        else:
            found = rows.rows(start, stop)
            worst = max(worst, require_equal(expected, found, target.dtype, where))
        start = stop
    if start != len(rows):
        raise WorkError(f"the file has {len(rows)} rows, the source {start}", where=where)
    return worst
