"""Values to the bytes of a GGUF type and back, a few rows at a time.

The arithmetic of quantized types is the gguf library's, but for Q8_0, which is written here for
speed and gives the same bytes. Pieces are small enough to stay in a processor's cache; several are
converted ahead, in threads, while earlier ones are written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tfcli.errors import WorkError
from tfcli.gguf.types import BY_NAME, WRITABLE, TensorType

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PIECE = 1 << 16  # elements that are converted at once
GROUP = 16  # pieces that a thread takes
_LARGEST_HALF = 65504.0
# The largest value whose block's scale a float16 holds.
_LIMITS = {
    "F16": _LARGEST_HALF,
    "Q8_0": _LARGEST_HALF * 127,
    "Q4_0": _LARGEST_HALF * 8,
    "Q5_0": _LARGEST_HALF * 16,
    "Q4_1": _LARGEST_HALF,
    "Q5_1": _LARGEST_HALF,
}


def library() -> Any:
    """The gguf library.

    Raises:
        WorkError: it is not installed.
    """
    try:
        import gguf
    except ImportError:
        raise WorkError(
            "quantized GGUF tensors need the gguf library", fix="pip install 'tfcli[gguf]'"
        ) from None
    return gguf


def plain_dtype(kind: TensorType) -> torch.dtype:
    """torch's type for a plain GGUF type."""
    from tfcli.checkpoints.dtypes import torch_dtype

    return torch_dtype(kind.name)


def row_pieces(rows: int, width: int, elements: int = PIECE) -> Iterator[tuple[int, int]]:
    """Ranges of rows that have about so many elements."""
    step = max(elements // max(width, 1), 1)
    for start in range(0, rows, step):
        yield start, min(start + step, rows)


def _ahead(
    work: Callable[[int, int], Tensor], spans: Iterable[tuple[int, int]]
) -> Iterator[Tensor]:
    """The results of `work` for each span, in order, made by threads ahead of their use."""
    import torch

    threads = torch.get_num_threads()
    waiting: deque[Future[Tensor]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for start, stop in spans:
                waiting.append(pool.submit(work, start, stop))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


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
    """The bytes of `rows` [n, width] in the type `kind`, piece by piece.

    Raises:
        WorkError: values that the type cannot hold; names the tensor.
    """
    import torch

    target = BY_NAME[kind]
    if target.plain and rows.dtype == plain_dtype(target):
        if rows.numel():
            yield rows.contiguous().reshape(-1).view(torch.uint8).numpy().data
        return

    def work(first: int, last: int) -> Tensor:
        group = rows[first:last]
        parts = [_encoded(group[a:b], kind, name) for a, b in row_pieces(*group.shape)]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    for done in _ahead(work, row_pieces(rows.shape[0], rows.shape[1], GROUP * PIECE)):
        yield done.numpy().data


def _encoded(part: Tensor, kind: str, name: str) -> Tensor:
    """The bytes of a few rows, flat."""
    import torch

    _require_fits(part, kind, name)
    target = BY_NAME[kind]
    if target.plain:
        return part.to(plain_dtype(target)).contiguous().reshape(-1).view(torch.uint8)
    if kind == "Q8_0":
        return _q8_0(part).reshape(-1)
    return torch.from_numpy(_quantized(part.to(torch.float32), kind)).reshape(-1)


def _require_fits(part: Tensor, kind: str, name: str) -> None:
    import torch

    limit = _LIMITS.get(kind)
    if limit is None or not part.numel():
        return
    largest = float(part.abs().amax())  # NaN if any value is
    if largest <= limit:
        return
    if kind == "F16":
        # Infinity and NaN stay what they are; only values that would become so are refused.
        finite = part[torch.isfinite(part)]
        if not finite.numel() or float(finite.abs().amax()) <= limit:
            return
    raise WorkError(
        f"holds values up to {largest:.4g}, which {kind} cannot hold",
        where=name,
        fix="choose BF16 or F32 for this tensor with --tensor-type",
    )


def _q8_0(part: Tensor) -> Tensor:
    """Blocks of 32: a float16 scale and 32 bytes, halves rounded away from zero."""
    import torch

    blocks = part.reshape(-1, 32).to(torch.float32)
    scale = blocks.abs().amax(1, keepdim=True).div_(127)
    steps = blocks * torch.where(scale == 0, 0.0, scale.reciprocal())
    whole = steps.trunc()
    whole.add_(steps.sub_(whole).mul_(2).trunc_())
    out = torch.empty(blocks.shape[0], 34, dtype=torch.uint8)
    out[:, :2] = scale.half().view(torch.uint8)
    out[:, 2:] = whole.to(torch.int8).view(torch.uint8)
    return out


def _quantized(part: Tensor, kind: str) -> Any:
    import numpy as np

    gguf = library()
    number = gguf.GGMLQuantizationType(BY_NAME[kind].number)
    with np.errstate(all="ignore"):  # blocks of nearly 0: their scale is 0, whatever the steps
        return gguf.quants.quantize(part.contiguous().numpy(), number)


def decode(raw: Tensor, kind: str, out: Tensor) -> Tensor:
    """Fill `out` [n, width] with the values of quantized rows.

    Args:
        raw: uint8 [n, bytes of a row].
        kind: the rows' type.
        out: of any floating type.

    Raises:
        WorkError: the gguf library cannot dequantize the type.
    """

    def work(first: int, last: int) -> Tensor:
        for a, b in row_pieces(last - first, out.shape[-1]):
            rows = slice(first + a, first + b)
            out[rows] = _decoded(raw[rows], kind)
        return out

    for _ in _ahead(work, row_pieces(out.shape[0], out.shape[1], GROUP * PIECE)):
        pass
    return out


def _decoded(raw: Tensor, kind: str) -> Tensor:
    import numpy as np
    import torch

    if kind == "Q8_0":
        blocks = raw.reshape(-1, 34)
        scale = blocks[:, :2].contiguous().view(torch.float16).float()
        return (blocks[:, 2:].view(torch.int8) * scale).reshape(raw.shape[0], -1)
    gguf = library()
    number = gguf.GGMLQuantizationType(BY_NAME[kind].number)
    try:
        with np.errstate(all="ignore"):
            values = gguf.quants.dequantize(raw.numpy(), number)
    except NotImplementedError:
        raise WorkError(
            f"the gguf library cannot dequantize {kind}",
            fix="keep the tensor as it is, or get the file in another type",
        ) from None
    return torch.from_numpy(values)
