"""Learning rate schedules: the step's share of the peak rate."""

from __future__ import annotations

import math
from collections.abc import Callable

from tfcli.train.moving_spec import ScheduleSection
from tfcli.train.pace import Length

Schedule = Callable[[int, float], float]
"""Step, counted from 0, and the seconds before it -> factor on the peak rate."""

Shape = Callable[[float, ScheduleSection], float]
"""Progress after the warm-up in [0, 1] -> the share of the way from the final to the peak rate."""


def _cosine(progress: float, section: ScheduleSection) -> float:
    """1 to 0 along half a cosine (Loshchilov & Hutter 2017, without restarts)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def _polynomial(progress: float, section: ScheduleSection) -> float:
    return float((1 - progress) ** section.power)


def _stable_then_down(progress: float, section: ScheduleSection) -> float:
    """Warm-up, stable, decay (Hu et al. 2024, "MiniCPM"): 1, then down to 0 in a straight line."""
    return min(1.0, (1 - progress) / section.decay_share)


SHAPES: dict[str, Shape] = {
    "cosine": _cosine,
    "linear": lambda progress, section: 1 - progress,
    "constant": lambda progress, section: 1.0,
    "wsd": _stable_then_down,
    "polynomial": _polynomial,
}


def make_schedule(section: ScheduleSection, length: Length, warmup_steps: int) -> Schedule:
    """Linear warm-up, then the named way down to the final ratio, which the end itself would have.

    Where time ends the run, the rate follows the time: it depends on the machine.

    `inverse-sqrt` has no end: after w steps of warm-up, or one, the rate at step s is the peak's
    times sqrt(w / s) (Vaswani et al. 2017).

    Args:
        section: names the way, with its options.
        length: of the whole run.
        warmup_steps: at its beginning.
    """
    final = 1.0 if section.name == "constant" else section.final_ratio

    def factor(step: int, seconds: float) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        if section.name == "inverse-sqrt":
            return math.sqrt(max(1, warmup_steps) / max(1, warmup_steps, step))
        progress = length.share(step, seconds, skipped=warmup_steps)
        return final + (1 - final) * SHAPES[section.name](progress, section)

    return factor
