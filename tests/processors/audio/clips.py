"""A few kB of audio that tests make: sines, and files of them in each format."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import av
import numpy as np
import soundfile

RATE = 16_000


def sine(seconds: float = 0.5, rate: int = RATE, hertz: float = 440.0, loud: float = 0.5):
    """A tone, float32."""
    return (loud * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype("f4")


def noise(samples: int, seed: int = 0):
    """Samples in -0.5..0.5, float32."""
    return (np.random.default_rng(seed).random(samples) - 0.5).astype("f4")


def sound_file(samples, rate: int = RATE, kind: str = "WAV", subtype: str | None = None) -> bytes:
    """A file that libsndfile writes; `samples` are [n] or [n, channels]."""
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=kind, subtype=subtype)
    return out.getvalue()


def ffmpeg_file(
    samples, rate: int = RATE, kind: str = "ipod", codec: str = "aac", **options
) -> bytes:
    """A file that FFmpeg writes: mono."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "audio")
        _encode(path, samples, rate, kind, codec, options)
        return path.read_bytes()


def _encode(path, samples, rate, kind, codec, options) -> None:
    with av.open(str(path), "w", format=kind, options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = "mono"
        resampler = av.AudioResampler(format=stream.format.name, layout="mono", rate=rate)
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.rate = rate
        for given in (frame, None):
            for part in resampler.resample(given):
                container.mux(stream.encode(part))
        container.mux(stream.encode(None))
