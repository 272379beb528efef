"""Which frames of a video are taken."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tfcli.errors import UsageError


def evenly(total: int, num_frames: int) -> list[int]:
    """Indices of frames at even distances, from the first on.

    Raises:
        UsageError: more than there are, or none.
    """
    if num_frames < 1:
        raise UsageError(f"num_frames is {num_frames}, below 1", where="num_frames")
    _check_enough(num_frames, total)
    return [place * total // num_frames for place in range(num_frames)]


def at_fps(times: Sequence[int], tick: float, fps: float) -> list[int]:
    """Indices of the frames that are on at even distances in time, from the first on.

    Where all frames are equally long these are as many as transformers takes, and the same. Where
    they are not, one that is on for long is taken again.

    Args:
        times: when each frame begins, ascending, in ticks.
        tick: seconds of a tick.
        fps: frames for each second of the video; at least one is taken.

    Raises:
        UsageError: a rate that is no rate, or more frames than there are.
    """
    if not 0 < fps < math.inf:
        raise UsageError(f"fps is {fps}, not above 0", where="fps")
    total = len(times)
    if total == 1:
        return [0]
    begin = np.asarray(times, dtype=np.float64) - times[0]
    each = begin[-1] / (total - 1)  # how long a frame is, on average
    count = max(1, int(total * each * tick * fps + 1e-6))
    rounding = min(1.0, each / 4)  # times are whole ticks
    if np.abs(begin - np.arange(total) * each).max() <= rounding:
        return evenly(total, count)
    _check_enough(count, total)
    instants = np.arange(count) * (total * each / count)
    return (np.searchsorted(begin, instants, side="right") - 1).tolist()


def every(total: int, num_frames: int, frame_sampling_rate: int) -> list[int]:
    """Indices of `num_frames` frames of which each is `frame_sampling_rate` after the one before.

    They are evenly spread over the first `num_frames * frame_sampling_rate` frames, both ends
    among them, as video models are fed: linspace(0, num_frames * frame_sampling_rate - 1).

    Raises:
        UsageError: the video ends before, or numbers below 1.
    """
    for name, number in (("num_frames", num_frames), ("frame_sampling_rate", frame_sampling_rate)):
        if number < 1:
            raise UsageError(f"{name} is {number}, below 1", where=name)
    last = num_frames * frame_sampling_rate - 1
    _check_enough(last + 1 if num_frames > 1 else 1, total)
    return [int(place) for place in np.linspace(0, last, num_frames)]


def _check_enough(wanted: int, total: int) -> None:
    if wanted > total:
        raise UsageError(
            f"{wanted:,} frames are wanted of a video that has {total:,}",
            where="num_frames",
            fix="take fewer, or a longer video",
        )
