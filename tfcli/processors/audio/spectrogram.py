"""Mel filters and log-mel spectrograms, by torch."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from tfcli.errors import UsageError

MelScale = Literal["htk", "slaney"]

_BLOCK = 3_000  # frames whose spectra are in memory at once: 5 MB at 400 samples a frame


def hertz_to_mel(hertz: Tensor, scale: MelScale) -> Tensor:
    """Frequencies on a mel scale: HTK's (Young et al. 2006), or Slaney's (1998).

    Slaney's is linear up to 1,000 Hz, with 3 mels for 200 Hz, and logarithmic from there on.
    """
    if scale == "htk":
        return 2595.0 * torch.log10(1.0 + hertz / 700.0)
    above = 15.0 + 27.0 * torch.log(hertz.clamp(min=1000.0) / 1000.0) / math.log(6.4)
    return torch.where(hertz >= 1000.0, above, hertz * 3.0 / 200.0)


def mel_to_hertz(mels: Tensor, scale: MelScale) -> Tensor:
    """The inverse of `hertz_to_mel`."""
    if scale == "htk":
        return 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    above = 1000.0 * torch.exp((mels.clamp(min=15.0) - 15.0) * math.log(6.4) / 27.0)
    return torch.where(mels >= 15.0, above, mels * 200.0 / 3.0)


def mel_filters(
    bins: int,
    mels: int,
    sampling_rate: int,
    *,
    lowest: float = 0.0,
    highest: float,
    scale: MelScale = "slaney",
    equal_area: bool = True,
) -> Tensor:
    """Triangular filters whose centres are evenly spaced on a mel scale.

    Args:
        bins: frequencies of a spectrum, from 0 to half the sampling rate.
        mels: filters.
        sampling_rate: in Hz.
        lowest: where the first filter begins, in Hz. highest: where the last one ends.
        scale: `htk` or `slaney`.
        equal_area: each filter has the same area (Slaney's norm) rather than the same peak.

    Returns:
        [mels, bins], float64

    Raises:
        UsageError: no filters, fewer than 2 bins, or frequencies the wrong way round.
    """
    if bins < 2 or mels < 1 or not 0 <= lowest < highest:
        raise UsageError(
            f"there are no {mels} mel filters from {lowest} to {highest} Hz over {bins} frequencies"
        )
    ends = hertz_to_mel(torch.tensor([lowest, highest], dtype=torch.float64), scale)
    corners = torch.linspace(float(ends[0]), float(ends[1]), mels + 2, dtype=torch.float64)
    hertz = mel_to_hertz(corners, scale)
    begin, centre, end = hertz[:-2, None], hertz[1:-1, None], hertz[2:, None]
    frequencies = torch.linspace(0, sampling_rate // 2, bins, dtype=torch.float64)
    rising = (frequencies - begin) / (centre - begin)
    falling = (end - frequencies) / (end - centre)
    filters = torch.minimum(rising, falling).clamp(min=0.0)
    return filters * (2.0 / (end - begin)) if equal_area else filters


def log_mel(waves: Tensor, filters: Tensor, frame: int, hop: int) -> Tensor:
    """Whisper's log-mel spectrogram (Radford et al. 2022): within 8 of the maximum, then scaled.

    Frames are centred, as `torch.stft` does it, and the last one is left out. The spectra are
    made in blocks, so that an hour takes no more memory beside its result than half a minute.

    Args:
        waves: [b, n], float32; each row has a maximum of its own.
        filters: [mels, frame / 2 + 1], float32.
        frame: samples of a frame, and of its Hann window. hop: samples from one to the next.

    Returns:
        [b, mels, n / hop]

    Raises:
        UsageError: waves so short that they cannot be mirrored at their ends.
    """
    rows, samples = waves.shape
    if samples <= frame // 2:
        raise UsageError(
            f"{samples} samples are too few for frames of {frame} samples",
            fix="pad the audio, as padding='max_length' does",
        )
    window = torch.hann_window(frame, dtype=waves.dtype, device=waves.device)
    padded = F.pad(waves[:, None], (frame // 2, frame // 2), mode="reflect")[:, 0]
    frames = samples // hop
    out = waves.new_empty(rows, filters.shape[0], frames)
    for row in range(rows):
        for start in range(0, frames, _BLOCK):
            stop = min(start + _BLOCK, frames)
            part = padded[row, start * hop : (stop - 1) * hop + frame]
            spectra = torch.stft(part, frame, hop, window=window, center=False, return_complex=True)
            power = spectra.real.square() + spectra.imag.square()
            out[row, :, start:stop] = filters @ power
    out.clamp_(min=1e-10).log10_()
    out = torch.maximum(out, out.amax(dim=(1, 2), keepdim=True) - 8.0)
    return (out + 4.0) / 4.0
