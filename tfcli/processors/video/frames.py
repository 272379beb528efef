"""Frames of a video as RGB, decoded by FFmpeg.

The file is gone through twice. First its packets are counted, without decoding: headers may lie or
say nothing, and frames need not be equally long. Then the wanted frames are decoded, from the last
key frame before each, so that memory holds these frames alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from tfcli.errors import UsageError, WorkError
from tfcli.limits import MAX_FRAME_BYTES, MAX_FRAME_PIXELS, MAX_VIDEO_FRAMES
from tfcli.processors.cut_off import refuse_cut_off
from tfcli.processors.media import Source, open_container, opened
from tfcli.processors.video.sampling import at_fps, evenly, every
from tfcli.units import format_bytes


@dataclass(frozen=True)
class VideoFrames:
    """What was taken from a video.

    Args:
        frames: [n, height, width, 3], uint8, RGB.
        indices: which of the video's frames they are.
        timestamps: when each is shown, in seconds after the video's first frame.
        total: frames of the video.
        fps: frames a second, on average; None where there is one frame.
    """

    frames: Tensor
    indices: list[int]
    timestamps: list[float]
    total: int
    fps: float | None


@dataclass(frozen=True)
class _Scan:
    """What the packets of a video say.

    Args:
        times: when each frame is shown, ascending, in ticks; numbers 0, 1, ... where packets do
            not say it or two say the same.
        keys: of these, the ones that can be decoded by themselves, ascending; none where packets
            do not say the time.
        tick: seconds of a tick.
    """

    times: list[int]
    keys: list[int]
    tick: float


def read_frames(
    source: Source,
    *,
    num_frames: int | None = None,
    fps: float | None = None,
    frame_sampling_rate: int | None = None,
) -> VideoFrames:
    """Take frames from a video: evenly over all of it, or all frames where nothing is said.

    Args:
        source: a file's path, or the bytes of one.
        num_frames: how many.
        fps: how many for each second, instead of `num_frames`.
        frame_sampling_rate: the distance of the `num_frames`, from the first frame on.

    Raises:
        UsageError: arguments that contradict each other, or more frames than there are.
        WorkError: no file, no video in it, a damaged or cut-off one, or one above the limits.
    """
    if fps is not None and (num_frames is not None or frame_sampling_rate is not None):
        raise UsageError("fps stands without num_frames and frame_sampling_rate", where="fps")
    if frame_sampling_rate is not None and num_frames is None:
        raise UsageError("frame_sampling_rate needs num_frames", where="frame_sampling_rate")
    with opened(source) as (file, name):
        refuse_cut_off(file, name)
        scan = _scan(file, name)
        total = len(scan.times)
        if fps is not None:
            indices = at_fps(scan.times, scan.tick, fps)
        elif frame_sampling_rate is not None and num_frames is not None:
            indices = every(total, num_frames, frame_sampling_rate)
        else:
            indices = evenly(total, total if num_frames is None else num_frames)
        file.seek(0)
        with open_container(file, name) as container:
            stream = _video(container, name)
            frames = _decoded(container, stream, scan, indices, name)
    first, last = scan.times[0], scan.times[-1]
    return VideoFrames(
        frames=torch.from_numpy(frames),
        indices=indices,
        timestamps=[(scan.times[index] - first) * scan.tick for index in indices],
        total=total,
        fps=(total - 1) / ((last - first) * scan.tick) if total > 1 else None,
    )


def _video(container: Any, name: str) -> Any:
    """The first video stream that is no picture of an album."""
    from av.stream import Disposition

    found = (
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic
    )
    stream = next(found, None)
    if stream is None:
        raise WorkError("there is no video in it", where=name)
    if stream.codec_context is None:
        raise WorkError("its video is of a kind that FFmpeg cannot decode", where=name)
    width, height = stream.width, stream.height
    if not 1 <= width * height <= MAX_FRAME_PIXELS:
        raise WorkError(
            f"its frames are {width:,} x {height:,} pixels, not 1..{MAX_FRAME_PIXELS:,} in all",
            where=name,
        )
    stream.codec_context.options = {"max_pixels": str(int(MAX_FRAME_PIXELS))}
    return stream


def _scan(file: BinaryIO, name: str) -> _Scan:
    """Go through the packets of a file, from where it stands."""
    times: list[int] = []
    keys: list[int] = []
    unsure = False
    with open_container(file, name) as container:
        stream = _video(container, name)
        rate = stream.average_rate or stream.guessed_rate
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_discard:  # the end, or what an edit has cut out
                continue
            if packet.is_corrupt:
                raise WorkError(f"the video is damaged at frame {len(times):,}", where=name)
            unsure |= packet.pts is None
            times.append(packet.pts or 0)
            if packet.is_keyframe:
                keys.append(packet.pts or 0)
            if len(times) > MAX_VIDEO_FRAMES:
                raise WorkError(f"the video has more than {MAX_VIDEO_FRAMES:,} frames", where=name)
        tick = float(stream.time_base) if stream.time_base else 0.0
    if not times:
        raise WorkError("there are no frames in it", where=name)
    if unsure or tick <= 0 or len(set(times)) < len(times):
        return _Scan(list(range(len(times))), [], 1 / float(rate) if rate else 1 / 25)
    return _Scan(sorted(times), sorted(keys), tick)


def _decoded(
    container: Any, stream: Any, scan: _Scan, indices: Sequence[int], name: str
) -> np.ndarray:
    """The frames of indices, ascending, turned as players show them: [n, height, width, 3]."""
    width, height = stream.width, stream.height
    size = len(indices) * height * width * 3
    if size > MAX_FRAME_BYTES:
        raise WorkError(
            f"{len(indices):,} frames of {width:,} x {height:,} pixels would take "
            f"{format_bytes(size)}, more than {format_bytes(MAX_FRAME_BYTES)}",
            where=name,
            fix="take fewer frames",
        )
    seeker = _Seeker(container, stream, scan, name)
    out = np.empty(0)
    for place, index in enumerate(indices):
        if place and index == indices[place - 1]:
            out[place] = out[place - 1]
            continue
        frame = seeker.frame(index)
        if (frame.width, frame.height) != (width, height):
            raise WorkError(
                f"frame {index:,} has {frame.width} x {frame.height} pixels, "
                f"the header says {width} x {height}",
                where=name,
            )
        # A telephone that is held upright writes how far to turn what it saw, against the clock.
        picture = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
        if not place:
            out = np.empty((len(indices), *picture.shape), dtype=np.uint8)
        if picture.shape != out.shape[1:]:
            raise WorkError(f"frame {index:,} is turned otherwise than the first", where=name)
        out[place] = picture
    return out


class _Seeker:
    """Decodes forward from frame to frame, and jumps to key frames where that is shorter."""

    def __init__(self, container: Any, stream: Any, scan: _Scan, name: str) -> None:
        self._container, self._stream, self._scan, self._name = container, stream, scan, name
        self._frames = self._decode()
        self._current: tuple[int, Any] | None = None  # time, frame

    def frame(self, index: int) -> Any:
        """The frame of an index, not below those that were asked for before."""
        target = self._scan.times[index]
        self._jump(target)
        # Packets that are never shown (VP8's references) have a time but no frame: what is shown
        # next stands for them.
        while self._current is None or self._current[0] < target:
            self._current = next(self._frames, None)
            if self._current is None:
                raise WorkError(
                    f"frame {index:,} of {len(self._scan.times):,} cannot be decoded",
                    where=self._name,
                    fix="the video is damaged or cut off; get it again",
                )
        if self._current[1].is_corrupt:
            raise WorkError(f"frame {index:,} is damaged", where=self._name)
        return self._current[1]

    def _jump(self, target: int) -> None:
        before = bisect_right(self._scan.keys, target)
        if not before:
            return
        key = self._scan.keys[before - 1]
        here = self._scan.times[0] if self._current is None else self._current[0]
        if key <= here:
            return
        for to in (key, self._scan.times[0]):
            self._container.seek(to, stream=self._stream)
            self._frames = self._decode()
            self._current = next(self._frames, None)
            # Formats that are searched by decoding times may come out behind it.
            if self._current is not None and self._current[0] <= target:
                return

    def _decode(self) -> Iterator[tuple[int, Any]]:
        for number, frame in enumerate(self._container.decode(self._stream)):
            if not self._scan.keys:
                yield number, frame
            elif frame.pts is not None:
                yield frame.pts, frame
