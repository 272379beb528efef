"""Tensors that come to a GGUF file as quantized rows, under their Hugging Face names.

What stands between Hugging Face's linears and GGUF's moves whole rows: heads in another order,
experts in a stack, parts joined. So the bytes of rows go through the same rules as values do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.gguf.types import BY_NAME
from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError

if TYPE_CHECKING:
    from torch import Tensor

ROWS = "U8"
"""The dtype of an entry that holds rows of bytes."""


@dataclass(frozen=True)
class PackedRows:
    """A quantized weight, `m` outputs by `n` inputs.

    Args:
        kind: its type in GGUF.
        shape: m and n.
        read: makes its rows, uint8 [m, bytes of a row]; may be called again.
        transposed: the checkpoint holds the weight as [n, m].
    """

    kind: str
    shape: tuple[int, int]
    read: Callable[[], Tensor]
    transposed: bool = False

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return BY_NAME[self.kind].row_bytes(self.shape[1])

    def entry(self, stands_for: TensorEntry) -> TensorEntry:
        """A tensor of its bytes, in the place of that of its values.

        Raises:
            WorkError: the values have another shape.
        """
        m, n = self.shape
        if stands_for.shape != ((n, m) if self.transposed else (m, n)):
            raise WorkError(
                f"{short(stands_for.name)} is {list(stands_for.shape)}, what it is quantized to "
                f"{[m, n]}"
            )
        shape = (self.row_bytes, m) if self.transposed else (m, self.row_bytes)
        read = self._turned if self.transposed else self.read
        return replace(
            stands_for,
            dtype=ROWS,
            shape=shape,
            sources=(stands_for.name,),
            how="",
            read=read,
            stored=self.kind,
        )

    def _turned(self) -> Tensor:
        return self.read().t()


def with_packed(view: Checkpoint, packed: Mapping[str, PackedRows]) -> Checkpoint:
    """A checkpoint whose tensors are quantized rows where there are any.

    Args:
        view: with all values.
        packed: by Hugging Face's name.

    Raises:
        WorkError: a name that the checkpoint lacks, or another shape.
    """
    for name in packed:
        if name not in view.tensors:
            raise WorkError(f"{short(name)} is no tensor of the checkpoint", where=str(view.path))
    tensors = {
        name: packed[name].entry(tensor) if name in packed else tensor
        for name, tensor in view.tensors.items()
    }
    return replace(view, tensors=tensors)


def type_and_shape(
    tensor: TensorEntry, packed: Mapping[str, PackedRows]
) -> tuple[str, tuple[int, ...]]:
    """The type of a tensor that rules made of quantized rows, and its shape in elements.

    Raises:
        WorkError: it is made of several types, or something else than rows was moved.
    """
    kinds = {packed[source].kind for source in tensor.sources if source in packed}
    if len(kinds) != 1 or not set(tensor.sources) <= set(packed):
        held = ", ".join(sorted(kinds))
        raise WorkError(
            f"{short(tensor.name)} would hold {held}{' and others' if len(kinds) == 1 else ''}",
            fix="give all that it is made of the same type",
        )
    kind = BY_NAME[kinds.pop()]
    if len(tensor.shape) < 2 or tensor.shape[-1] % kind.size:
        raise WorkError(f"{short(tensor.name)}: its rows are no whole blocks of {kind.name}")
    return kind.name, (*tensor.shape[:-1], tensor.shape[-1] // kind.size * kind.block)
