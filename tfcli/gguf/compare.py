"""Whether written values are the ones that were to be written, within what their type can say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfcli.errors import WorkError
from tfcli.gguf.quants import decode, plain_dtype, row_pieces
from tfcli.gguf.types import BY_NAME

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = 32
_HALF = 2.0**-11  # a float16 scale's relative error
_TINY = 2.0**-25  # and its absolute error near zero
# type -> (steps between the least and the largest value, largest error in steps)
_AROUND_ZERO = {"Q8_0": (127, 0.5), "Q4_0": (8, 1.0), "Q5_0": (16, 1.0)}
_FROM_LEAST = {"Q4_1": (15, 0.5), "Q5_1": (31, 0.5)}


def require_equal(expected: Tensor, raw: Tensor, kind: str, where: str) -> float:
    """Compare rows with their bytes in the file, piece by piece.

    Plain types must be equal bit for bit to `expected` in that type; quantized values must lie
    within their block's rounding.

    Args:
        expected: [n, width].
        raw: of the type, or bytes of quantized rows [n, bytes of a row].
        kind: the type.
        where: file and tensor, for errors.

    Returns:
        The largest difference of a value, relative to the largest value of its block or, for
        plain types, of its piece.

    Raises:
        WorkError: they differ.
    """
    worst = 0.0
    for start, stop in row_pieces(expected.shape[0], expected.shape[-1]):
        part, stored = expected[start:stop], raw[start:stop]
        if BY_NAME[kind].plain:
            worst = max(worst, _plain(part, stored, kind, where))
        else:
            worst = max(worst, _quantized(part.float(), stored, kind, where))
    return worst


def _plain(part: Tensor, stored: Tensor, kind: str, where: str) -> float:
    import torch

    target = plain_dtype(BY_NAME[kind])
    cast = part.to(target).contiguous()
    if not torch.equal(cast.view(torch.uint8), stored.contiguous().view(torch.uint8)):
        raise WorkError("the values in the file are not those that were written", where=where)
    if part.dtype == target or not part.numel():
        return 0.0
    largest = part.abs().max().double()
    return float((cast.double() - part.double()).abs().max() / largest) if largest else 0.0


def _quantized(part: Tensor, stored: Tensor, kind: str, where: str) -> float:
    import torch

    values = decode(stored, kind, torch.empty_like(part))
    blocks = part.reshape(-1, _BLOCK)
    error = (values.reshape(-1, _BLOCK) - blocks).abs().amax(-1)
    largest = blocks.abs().amax(-1)
    if kind in _AROUND_ZERO:
        steps, share = _AROUND_ZERO[kind]
        allowed = largest * (share / steps + _HALF) + steps * _TINY
    else:
        steps, share = _FROM_LEAST[kind]
        spread = blocks.amax(-1) - blocks.amin(-1)
        allowed = spread * (share / steps + 2 * _HALF) + largest * _HALF + (steps + 1) * _TINY
    if bool((error > allowed * 1.001).any()) or not bool(torch.isfinite(values).all()):
        raise WorkError(f"the values in the file differ by more than {kind} explains", where=where)
    # Blocks of nearly 0 have a scale of 0 in float16: all is lost, and nothing is missed.
    counts = error > (steps + 1) * _TINY
    shares = torch.where(counts, error / largest, 0.0)
    return float(shares.max()) if shares.numel() else 0.0
