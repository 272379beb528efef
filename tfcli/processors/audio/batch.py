"""What a caller gives as audio: one piece, or several."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from pathlib import Path

import numpy as np
from torch import Tensor

from tfcli.errors import UsageError
from tfcli.processors.audio.load import Audio, load_audio


def as_waves(
    audio: Audio | Sequence[Audio], sampling_rate: int, source_rate: int | None
) -> list[Tensor]:
    """Each piece of audio at the rate of a model.

    A path, bytes, samples [n] or a list of numbers are one piece. An array of two dimensions is a
    batch of mono pieces [b, n], and a list holds pieces of any kind; in it, arrays of two
    dimensions are [channels, n].

    Args:
        audio: as above.
        sampling_rate: of the model, in Hz. source_rate: of arrays; files say their own.

    Returns:
        [n] each, float32

    Raises:
        UsageError: nothing, or what is no audio.
        WorkError: as `load_audio`.
    """
    pieces: list[Audio]
    if isinstance(audio, Path | str | bytes):
        pieces = [audio]
    elif isinstance(audio, np.ndarray | Tensor):
        pieces = list(audio) if audio.ndim == 2 else [audio]
    elif isinstance(audio, Sequence):
        # numpy's and Python's numbers; a list of them is one piece
        pieces = [list(audio)] if audio and isinstance(audio[0], Real) else list(audio)  # type: ignore[arg-type]
    else:
        raise UsageError(
            f"{type(audio).__name__} is no audio",
            where="audio",
            fix="give a path, bytes, an array of samples, or a list of these",
        )
    if not pieces:
        raise UsageError("no audio was given", where="audio")
    return [
        load_audio(
            piece, sampling_rate, None if isinstance(piece, Path | str | bytes) else source_rate
        )
        for piece in pieces
    ]
