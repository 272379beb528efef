"""Another sampling rate, by soxr.

soxr's setting HQ is what librosa and transformers' own loader resample with, so a model hears here
what it hears there, sample for sample. It works block by block, which bounds memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tfcli.errors import WorkError


def resampled(blocks: Iterator[np.ndarray], rate: int, wanted: int) -> Iterator[np.ndarray]:
    """Mono audio at another rate; as it is where the rates are equal.

    n samples become n * wanted / rate, rounded up; where the filter gives one less, the last is 0.

    Args:
        blocks: float32 arrays [n].
        rate: of the blocks, in Hz. wanted: of the result.

    Raises:
        WorkError: the package soxr lacks.
    """
    if rate == wanted:
        yield from blocks
        return
    try:
        import soxr
    except ImportError as error:
        raise WorkError(
            f"resampling from {rate:,} to {wanted:,} Hz needs the package soxr",
            fix="pip install 'tfcli[media]'",
        ) from error
    stream = soxr.ResampleStream(rate, wanted, 1, dtype="float32", quality="HQ")
    read = made = 0
    for block in blocks:
        read += len(block)
        part = stream.resample_chunk(np.ascontiguousarray(block))
        made += len(part)
        yield part
    rest = stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True)
    most = -(-read * wanted // rate) - made
    yield np.pad(rest, (0, max(0, most - len(rest))))[: max(0, most)]
