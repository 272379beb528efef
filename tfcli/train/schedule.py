"""Learning rate schedules: the step's share of the peak rate."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


def _cosine(progress: float) -> float:
    """1 to 0 along half a cosine (Loshchilov & Hutter 2017, without restarts)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def _linear(progress: float) -> float:
    return 1 - progress


def _constant(progress: float) -> float:
    return 1.0


SHAPES = {"cosine": _cosine, "linear": _linear, "constant": _constant}
"""Schedule name -> share of the way between final and peak rate, by progress in [0, 1]."""


def make_schedule(name: str, *, steps: int, warmup_steps: int, final_ratio: float) -> Schedule:
    """Linear warm-up, then the named way down to `final_ratio`, which `steps` itself would have.

    Returns:
        a function of the step, counted from 0, to a factor on the peak rate
    """
    shape = SHAPES[name]

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        progress = (step - warmup_steps) / max(1, steps - warmup_steps)
        return final_ratio + (1 - final_ratio) * shape(min(progress, 1.0))

    return factor
