"""Long audio in parts: windows of features for Whisper, overlapping chunks of a wave."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from tfcli.errors import UsageError


def feature_window(features: Tensor, start: int, frames: int) -> Tensor:
    """The window that generation goes on from, filled up with zeros behind the end of the audio.

    Whisper says itself, by its last timestamp, where the next window starts.

    Args:
        features: [b, mels, n], of a whole recording: `truncation=False, padding="longest"`.
        start: its first frame. frames: of a window, 3,000 for 30 seconds.

    Returns:
        [b, mels, frames]

    Raises:
        UsageError: a start outside of the features.
    """
    if not 0 <= start < features.shape[-1]:
        raise UsageError(f"frame {start} is not one of {features.shape[-1]}", where="start")
    part = features[..., start : start + frames]
    return F.pad(part, (0, frames - part.shape[-1]))


@dataclass(frozen=True)
class Chunk:
    """A part of a wave. What is predicted for its margins is better predicted by its neighbours.

    Args:
        start: its first sample. stop: the one after its last.
        left: samples at its beginning that belong to the chunk before; 0 for the first.
        right: samples at its end that belong to the one after; 0 for the last.
    """

    start: int
    stop: int
    left: int
    right: int


def chunks(samples: int, length: int, left: int, right: int) -> Iterator[Chunk]:
    """Chunks of a long wave that overlap by their margins.

    Args:
        samples: of the wave. length: of a chunk. left, right: of its margins.

    Raises:
        UsageError: margins that leave nothing of a chunk.
    """
    step = length - left - right
    if min(left, right) < 0 or step < 1:
        raise UsageError(
            f"margins of {left:,} and {right:,} samples leave nothing of a chunk of {length:,}"
        )
    for start in range(0, samples, step):
        stop = min(start + length, samples)
        last = stop == samples
        margin = left if start else 0
        if stop - start > margin:  # the rest is in the chunk before
            yield Chunk(start, stop, margin, 0 if last else right)
        if last:
            return
