"""How long a run is and how often something is done."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tfcli.train.pace import Every, Length, Moment, every


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        (100, Every(100, "steps")),
        (0, Every(0, "steps")),
        ("100 steps", Every(100, "steps")),
        ("1 epoch", Every(1, "epochs")),
        ("0.5 epochs", Every(0.5, "epochs")),
        ("10 minutes", Every(10, "minutes")),
        ("5%", Every(0.05, "share")),
    ],
)
def test_an_interval_is_a_number_of_steps_or_a_text(text, meaning):
    assert every(text) == meaning


@pytest.mark.parametrize("text", ["often", "-5", -5, "1.5 steps", "120%", "5 hours", "1 epoch 2"])
def test_what_is_no_interval_is_refused(text):
    with pytest.raises(ValueError, match=r"interval|whole number|whole run"):
        every(text)


def moments(steps: int, an_epoch: float = 4.0, seconds: float = 15.0):
    return [Moment(n, n / an_epoch, n * seconds, n / steps) for n in range(steps + 1)]


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        (3, [3, 6, 9]),
        ("1 epoch", [4, 8]),
        ("0.5 epochs", [2, 4, 6, 8, 10]),
        ("0.1 epochs", list(range(1, 11))),
        ("1 minutes", [4, 8]),
        ("30%", [3, 6, 9]),
        ("25%", [3, 5, 8, 10]),
        (0, []),
    ],
)
def test_it_is_time_at_each_multiple_of_an_interval(text, steps):
    points = moments(10)
    due = [b.step for a, b in pairwise(points) if every(text).due(a, b)]
    assert due == steps


def test_a_run_is_over_at_the_first_of_its_ends():
    length = Length(10, 60.0)
    assert not length.over(9, 59.0)
    assert length.over(10, 1.0)
    assert length.over(2, 60.0)
    assert length.share(5, 12.0) == 0.5
    assert length.share(2, 45.0) == 0.75
    assert length.share(4, 20.0, skipped=2) == pytest.approx(0.25)
