"""Clips of a few kB that tests make: each frame has a grey of its own."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SIZE = (48, 32)  # width, height


def grey(index: int) -> int:
    """What the pixels of a frame are."""
    return 8 + index * 7 % 240


def picture(value: int, size=SIZE) -> np.ndarray:
    return np.full((size[1], size[0], 3), value, dtype=np.uint8)


def clip(
    frames: int = 30,
    fps: int = 10,
    name="a.mp4",
    codec="libx264",
    times=None,
    size=SIZE,
    half=False,
    **options,
) -> bytes:
    """A video file.

    Args:
        times: milliseconds, where frames are not equally long.
        half: the right half is white.
    """
    # Key frames where they are asked for, not wherever a picture changes.
    options.setdefault("sc_threshold", "0")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        muxer = {"movflags": options.pop("movflags")} if "movflags" in options else {}
        with av.open(str(path), "w", options=muxer) as container:
            stream = container.add_stream(codec, rate=fps, options=options)
            stream.width, stream.height = size
            stream.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
            if times is not None:
                stream.codec_context.time_base = Fraction(1, 1000)
            for index in range(frames):
                pixels = picture(grey(index), size)
                if half:
                    pixels[:, size[0] // 2 :] = 255
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                if times is not None:
                    frame.pts, frame.time_base = times[index], Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path.read_bytes()


def shown(frames) -> list[int]:
    """Which frames these are, by their grey."""
    means = frames.float().mean(dim=(1, 2, 3)).tolist()
    greys = np.array([grey(index) for index in range(34)])  # these differ
    return [int(np.abs(greys - mean).argmin()) for mean in means]
