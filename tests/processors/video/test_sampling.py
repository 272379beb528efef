"""Which frames are taken, beside transformers."""

from __future__ import annotations

import numpy as np
import pytest
from transformers.video_utils import VideoMetadata, default_sample_indices_fn

from tfcli.errors import UsageError
from tfcli.processors.video.sampling import at_fps, evenly, every


@pytest.mark.parametrize("total", [1, 2, 7, 30, 301])
def test_evenly_is_what_transformers_takes(total: int) -> None:
    for wanted in {1, 2, 7, total} & set(range(1, total + 1)):
        theirs = default_sample_indices_fn(VideoMetadata(total, 10.0), num_frames=wanted)
        assert evenly(total, wanted) == theirs.tolist()


@pytest.mark.parametrize("ticks", [1, 1000, 10240, 90000])
@pytest.mark.parametrize("rate", [10, 25, 30, 24_000 / 1_001])
def test_by_time_is_what_transformers_takes_of_equally_long_frames(rate, ticks: int) -> None:
    """Whatever the ticks are that times are rounded to, but for none that two frames share."""
    if ticks == 1:
        ticks, times = rate, list(range(301))
    else:
        times = [round(place / rate * ticks) for place in range(301)]
    for fps in (0.5, 1, 2, 4, 7, 9.5):
        theirs = default_sample_indices_fn(VideoMetadata(301, rate), fps=fps)
        assert at_fps(times, 1 / ticks, fps) == theirs.tolist()


def test_by_time_a_long_frame_is_taken_again() -> None:
    # on for 0.1, 0.1, 1.8 and, as the average is, 0.67 seconds
    assert at_fps([0, 100, 200, 2000], 0.001, 1.2) == [0, 2, 2]
    assert at_fps([0, 100, 200, 2000], 0.001, 1.5) == [0, 2, 2, 3]


def test_one_frame_is_every_frame() -> None:
    assert at_fps([5], 0.1, 3) == [0]
    assert at_fps([0, 1], 0.1, 0.01) == [0]


def test_every_few_frames_is_the_linspace_of_the_pipeline() -> None:
    for num_frames, rate in ((1, 1), (8, 1), (8, 4), (16, 2), (3, 7)):
        wanted = np.linspace(0, num_frames * rate - 1, num=num_frames, dtype=np.int64)
        assert every(200, num_frames, rate) == wanted.tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evenly(5, 6), "6 frames are wanted of a video that has 5"),
        (lambda: evenly(5, 0), "num_frames is 0"),
        (lambda: every(31, 8, 4), "32 frames are wanted of a video that has 31"),
        (lambda: every(31, 8, 0), "frame_sampling_rate is 0"),
        (lambda: every(31, -8, 4), "num_frames is -8"),
        (lambda: at_fps([0, 1, 2], 0.1, 20), "6 frames are wanted of a video that has 3"),
        (lambda: at_fps([0, 1], 0.1, 0), "fps is 0"),
        (lambda: at_fps([0, 1], 0.1, float("nan")), "fps is nan"),
        (lambda: at_fps([0, 1], 0.1, float("inf")), "fps is inf"),
    ],
)
def test_what_cannot_be_taken(call, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()
