"""Values to the bytes of a quantized GGUF type and back.

The arithmetic of the types that are written is in `blocks`; the others are read by the gguf
library.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tfcli.checkpoints.gguf.types import BY_NAME, WRITABLE, TensorType
from tfcli.checkpoints.io.file_tensor import Values, flat_pieces, rows_of
from tfcli.errors import WorkError
from tfcli.several_cores import GROUP, PIECE, ahead, spans

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def plain_dtype(kind: TensorType) -> torch.dtype:
    """torch's type for a plain GGUF type."""
    from tfcli.checkpoints.io.dtypes import torch_dtype

    return torch_dtype(kind.name)


def require_writable(kind: str, width: int, name: str) -> None:
    """Refuse a type that nothing here writes, or rows that do not fill its blocks.

    Raises:
        WorkError: names the tensor.
    """
    if kind not in WRITABLE:
        raise WorkError(
            f"{kind} cannot be written", where=name, fix=f"choose one of {', '.join(WRITABLE)}"
        )
    block = BY_NAME[kind].block
    if width % block:
        raise WorkError(
            f"rows of {width} elements do not fill {kind}'s blocks of {block}",
            where=name,
            fix="choose F16 for this tensor with --tensor-type",
        )


def encode(rows: Tensor, kind: str, name: str) -> Iterator[memoryview]:
    """The bytes of `rows` in a quantized type, part by part.

    Args:
        rows: [n, width], of any floating type and strides; whole blocks.
        kind: one that is written.
        name: for errors.

    Raises:
        WorkError: values that the type cannot hold; names the tensor.
    """
    import torch

    from tfcli.checkpoints.gguf.blocks import BLOCK, FORMS, Scratch, quantize

    size, limit = BY_NAME[kind].size, FORMS[kind].limit

    def work(first: int, last: int) -> memoryview:
        blocks = rows[first:last].reshape(-1, BLOCK)
        out = torch.empty(len(blocks), size, dtype=torch.uint8)
        largest, scratch = [], None
        for a, b in spans(len(blocks), PIECE // BLOCK):
            if scratch is None or len(scratch.values) != b - a:
                scratch = Scratch(b - a)
            largest.append(quantize(blocks[a:b], kind, out[a:b], scratch))
        top = float(torch.cat(largest).amax())  # NaN where any value is
        if not top <= limit:
            raise WorkError(
                f"holds values up to {top:.4g}, which {kind} cannot hold",
                where=name,
                fix="choose BF16 or F32 for this tensor with --tensor-type",
            )
        return out.reshape(-1).numpy().data

    if rows.numel():
        yield from ahead(work, len(rows), max(GROUP * PIECE // rows.shape[1], 1))


def decode(raw: Values, kind: str, out: Tensor) -> Tensor:
    """Fill `out` with the values of quantized rows.

    Args:
        raw: uint8 [..., bytes of a row].
        kind: the rows' type.
        out: [..., width], contiguous, of any floating type.

    Raises:
        WorkError: the gguf library cannot dequantize the type, or the file changed.
    """
    import torch

    block, size = BY_NAME[kind].block, BY_NAME[kind].size
    source, target = raw.reshape(-1, size), out.view(-1, block)
    step = PIECE // block

    def work(first: int, last: int) -> None:
        values, at = torch.empty(min(step, last - first), block), first
        for piece in flat_pieces(rows_of(source, first, last), step * size):
            blocks = piece.view(-1, size)
            target[at : at + len(blocks)] = decoded(blocks, kind, values[: len(blocks)])
            at += len(blocks)

    for _ in ahead(work, len(source), GROUP * step):
        pass
    return out


def decoded(blocks: Tensor, kind: str, out: Tensor) -> Tensor:
    """The values of a few blocks, float32.

    Args:
        blocks: uint8 [n, bytes of a block].
        kind: their type.
        out: float32 [n, elements of a block]; memory that may be used for the values.

    Raises:
        WorkError: the gguf library cannot dequantize the type.
    """
    import torch

    from tfcli.checkpoints.gguf.blocks import FORMS, dequantize

    if kind in FORMS:
        return dequantize(blocks, kind, out)
    import gguf
    import numpy as np

    number = gguf.GGMLQuantizationType(BY_NAME[kind].number)
    try:
        with np.errstate(all="ignore"):
            values = gguf.quants.dequantize(blocks.numpy(), number)
    except NotImplementedError:
        raise WorkError(
            f"the gguf library cannot dequantize {kind}",
            fix="keep the tensor as it is, or get the file in another type",
        ) from None
    return torch.from_numpy(values)
