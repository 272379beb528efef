"""Audio from a file, bytes or an array: mixed to mono, at the rate that a model takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tfcli.errors import UsageError, WorkError
from tfcli.limits import (
    MAX_AUDIO_SAMPLES,
    MAX_CHANNELS,
    MAX_DECODED_SAMPLES,
    MAX_SAMPLING_RATE,
)
from tfcli.processors.audio.decode import open_audio
from tfcli.processors.audio.resample import resampled
from tfcli.processors.audio.settings import LOWEST_RATE

Audio = Path | str | bytes | np.ndarray | Tensor | list[float] | tuple[float, ...]

# Whole numbers stand for fractions of the largest one, as in files.
_SCALES = {np.dtype(np.int16): 1 << 15, np.dtype(np.int32): 1 << 31}


def load_audio(audio: Audio, sampling_rate: int, source_rate: int | None = None) -> Tensor:
    """The samples of one piece of audio.

    Channels are averaged, and resampled by soxr (`resample.py`). A file is decoded block by block,
    so what is in memory is the result.

    Args:
        audio: a file's path or bytes; or samples: [n], or [channels, n], as floats around -1..1
            or as int16 or int32.
        sampling_rate: of the result, in Hz.
        source_rate: of an array; a file says its own.

    Returns:
        [n], float32

    Raises:
        UsageError: an array without its rate, or a file with one.
        WorkError: a file that cannot be read, no samples, NaN or infinite ones, more than the
            limits allow, or a sampling rate that no audio has.
    """
    if isinstance(audio, Path | str | bytes):
        if source_rate is not None:
            raise UsageError("a file says its own sampling rate", where="sampling_rate")
        with open_audio(audio) as (found, name):
            total = None if found.samples is None else found.samples * found.channels
            _check(found.sampling_rate, found.channels, found.samples, total, sampling_rate, name)
            mono = _mixed(found.blocks, name)
            return _collect(mono, found.sampling_rate, sampling_rate, found.samples, name)
    samples = _samples(audio)
    if source_rate is None:
        raise UsageError(
            "samples without their sampling rate",
            where="sampling_rate",
            fix="say the rate that the array was recorded or read with",
        )
    count = samples.shape[0]
    name = "the given samples"
    _check(source_rate, samples.shape[1], count, samples.size, sampling_rate, name)
    mono = _mixed([samples], name)
    return _collect(mono, source_rate, sampling_rate, count, name)


def _samples(audio: Any) -> np.ndarray:
    """What was given as samples, [n, channels], float32."""
    if isinstance(audio, Tensor):
        audio = audio.detach().cpu()
        audio = (audio.float() if audio.is_floating_point() else audio).numpy()
    try:
        samples = np.asarray(audio)
    except ValueError:  # lists of several lengths
        samples = np.asarray(None)
    if isinstance(audio, list | tuple) and samples.dtype.kind == "i":
        samples = samples.astype(np.float32)
    if samples.dtype.kind != "f" and samples.dtype not in _SCALES:
        raise UsageError(
            f"{type(audio).__name__} of {samples.dtype} are no samples of audio",
            where="audio",
            fix="give a path, bytes, or an array of floats, int16 or int32",
        )
    if samples.ndim not in (1, 2):
        raise UsageError(f"samples of shape {list(samples.shape)} are no audio", where="audio")
    if samples.ndim == 2 and samples.shape[0] > MAX_CHANNELS:
        raise UsageError(
            f"an array of shape {list(samples.shape)} would be {samples.shape[0]:,} channels",
            where="audio",
            fix="transpose it to [channels, samples]",
        )
    scaled = samples.astype(np.float32) / _SCALES.get(samples.dtype, 1)
    return scaled[:, None] if scaled.ndim == 1 else scaled.T


def _check(
    rate: int, channels: int, count: int | None, total: int | None, wanted: int, name: str
) -> None:
    """Refuse what a header or an array says before anything is decoded."""
    if not LOWEST_RATE <= rate <= MAX_SAMPLING_RATE:
        raise WorkError(
            f"the recording has a sampling rate of {rate:,} Hz, not one of "
            f"{LOWEST_RATE:,}..{MAX_SAMPLING_RATE:,}",
            where=name,
        )
    if not 1 <= channels <= MAX_CHANNELS:
        raise WorkError(f"the recording has {channels} channels, not 1..{MAX_CHANNELS}", where=name)
    if count == 0:
        raise _empty(name)
    if count is not None and total is not None:
        _check_length(count * wanted // rate, total, name)


def _check_length(samples: int, decoded: int, name: str) -> None:
    for number, limit in ((samples, MAX_AUDIO_SAMPLES), (decoded, MAX_DECODED_SAMPLES)):
        if number > limit:
            raise WorkError(
                f"the recording has {number:,} samples, more than {limit:,}",
                where=name,
                fix="cut the audio into parts",
            )


def _empty(name: str) -> WorkError:
    return WorkError("there are no samples of audio in it", where=name)


def _mixed(blocks: Iterable[np.ndarray], name: str) -> Iterator[np.ndarray]:
    """Blocks [n, channels] -> [n]."""
    done = decoded = 0
    for block in blocks:
        decoded += block.size
        _check_length(0, decoded, name)
        mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
        finite = np.isfinite(mono)
        if not finite.all():
            raise WorkError(
                f"sample {done + int(finite.argmin()):,} is not a finite number", where=name
            )
        done += len(mono)
        yield mono


def _collect(
    blocks: Iterator[np.ndarray], rate: int, wanted: int, declared: int | None, name: str
) -> Tensor:
    """The whole of it at the wanted rate."""
    read = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal read
        for block in blocks:
            read += len(block)
            yield block

    parts, length = [], 0
    for part in resampled(counted(), rate, wanted):
        length += len(part)
        _check_length(length, 0, name)
        parts.append(part)
    if read == 0:
        raise _empty(name)
    if declared is not None and read < declared:
        raise WorkError(
            f"the recording is cut off: it has {read:,} of {declared:,} samples",
            where=name,
            fix="get the file again; the download may not be complete",
        )
    return torch.from_numpy(np.concatenate(parts).astype(np.float32, copy=False))
