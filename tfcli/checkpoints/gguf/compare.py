"""Whether written values are the ones that were to be written, within what their type can say."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tfcli.checkpoints.gguf.quants import decoded, plain_dtype
from tfcli.checkpoints.gguf.types import BY_NAME
from tfcli.checkpoints.io.casting import raw_bytes
from tfcli.checkpoints.io.file_tensor import Values
from tfcli.errors import WorkError
from tfcli.several_cores import GROUP, PIECE, ahead, spans

if TYPE_CHECKING:
    from torch import Tensor

_HALF = 2.0**-11  # a float16 scale's relative error
_TINY = 2.0**-25  # and its absolute error near zero
# type -> (steps between the least and the largest value, largest error in steps)
_AROUND_ZERO = {"Q8_0": (127, 0.5), "Q4_0": (8, 1.0), "Q5_0": (16, 1.0)}
_FROM_LEAST = {"Q4_1": (15, 0.5), "Q5_1": (31, 0.5)}


def require_equal(expected: Tensor, raw: Values, kind: str, where: str) -> float:
    """Compare rows with their bytes in the file, piece by piece.

    Plain types must be equal bit for bit to `expected` in that type; quantized values must lie
    within their block's rounding.

    Args:
        expected: [n, width]; of any strides.
        raw: of the type, or bytes of quantized rows [n, bytes of a row].
        kind: the type.
        where: file and tensor, for errors.

    Returns:
        The largest difference of a value, relative to the largest value of its block or, for
        plain types, of its piece.

    Raises:
        WorkError: they differ.
    """

    def work(first: int, last: int) -> float:
        check = _plain if BY_NAME[kind].plain else _quantized
        # Of a tensor that lies in a file, a slice reads these rows.
        return check(expected[first:last], raw[first:last], kind, where)

    step = max(GROUP * PIECE // max(expected.shape[1], 1), 1)
    return max(ahead(work, len(expected), step), default=0.0)


def require_same_bytes(expected: Tensor, raw: Values, where: str) -> None:
    """Compare a tensor that was kept with what is in the file.

    Raises:
        WorkError: they differ in any bit.
    """
    from tfcli.checkpoints.io.tensor_pieces import same_bits

    if not same_bits(expected, raw):
        raise WorkError("the bytes in the file are not those of the source", where=where)


def _same_bytes(one: Tensor, other: Tensor) -> bool:
    import numpy as np

    # torch.equal takes ten times as long for bytes.
    return np.array_equal(raw_bytes(one).numpy(), raw_bytes(other).numpy())


def _plain(part: Tensor, stored: Tensor, kind: str, where: str) -> float:
    step = max(PIECE // max(part.shape[1], 1), 1)
    found = [_rounding(part[a:b], stored[a:b], kind, where) for a, b in spans(len(part), step)]
    return max(found, default=0.0)


def _rounding(part: Tensor, stored: Tensor, kind: str, where: str) -> float:
    import torch

    target = plain_dtype(BY_NAME[kind])
    exact = torch.promote_types(part.dtype, torch.float32)
    loses = torch.promote_types(part.dtype, target) != target
    values = part.to(exact) if loses else part  # float32 to float16 is faster than from bfloat16
    cast = values.to(target)
    if not _same_bytes(cast, stored):
        raise WorkError("the values in the file are not those that were written", where=where)
    if not loses:
        return 0.0
    rounding, largest = cast.to(exact).sub_(values), _largest(values)
    if not math.isfinite(largest):
        finite = values.isfinite()
        rounding, largest = rounding[finite], _largest(values[finite])
    return _largest(rounding) / largest if largest else 0.0


def _largest(values: Tensor) -> float:
    """The largest absolute value: one pass, no memory."""
    return max(abs(float(bound)) for bound in values.aminmax()) if values.numel() else 0.0


def _quantized(part: Tensor, stored: Tensor, kind: str, where: str) -> float:
    import torch

    from tfcli.checkpoints.gguf.blocks import BLOCK

    blocks, raw = part.reshape(-1, BLOCK), stored.reshape(-1, BY_NAME[kind].size)
    around_zero = kind in _AROUND_ZERO
    steps, share = _AROUND_ZERO[kind] if around_zero else _FROM_LEAST[kind]
    largest, spread, error = torch.empty(3, len(blocks)).unbind()
    step = PIECE // BLOCK
    scratch = [torch.empty(min(step, len(blocks)), BLOCK) for _ in range(2)]
    for a, b in spans(len(blocks), step):
        values, other = (tensor[: b - a] for tensor in scratch)
        values.copy_(blocks[a:b])
        if around_zero:
            torch.amax(torch.abs(values, out=other), 1, out=largest[a:b])
        else:
            high, low = values.amax(1), values.amin(1)
            torch.sub(high, low, out=spread[a:b])
            torch.maximum(high, low.neg_(), out=largest[a:b])
        torch.amax(decoded(raw[a:b], kind, other).sub_(values).abs_(), 1, out=error[a:b])
    if around_zero:
        allowed = largest * (share / steps + _HALF) + steps * _TINY
    else:
        allowed = spread * (share / steps + 2 * _HALF) + largest * _HALF + (steps + 1) * _TINY
    if not bool((error <= allowed * 1.001).all()):  # NaN is not
        raise WorkError(f"the values in the file differ by more than {kind} explains", where=where)
    # Blocks of nearly 0 have a scale of 0 in float16: all is lost, and nothing is missed.
    counts = error > (steps + 1) * _TINY
    return float(torch.where(counts, error / largest, 0.0).max()) if len(blocks) else 0.0
