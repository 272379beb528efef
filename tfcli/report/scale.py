"""From data to drawing units: axes with round ticks, linear or logarithmic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """One axis.

    Args:
        low: the value at the start of the axis.
        high: the value at its end, above `low`.
        ticks: the values that get a label and a line.
        log: equal steps are equal ratios; `low` is then above 0.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def at(self, value: float) -> float:
        """Where `value` lies: 0 at `low`, 1 at `high`."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def linear_axis(values: Sequence[float], *, count: int = 6, zero: bool = False) -> Axis:
    """An axis that holds all values with some air, with about `count` round ticks.

    Args:
        zero: the axis starts at 0, as bars and sizes need it.
    """
    low, high = min(values), max(values)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        low, high = (low - 0.5 * abs(low) - 0.5, high + 0.5 * abs(high) + 0.5)
        low = 0.0 if zero else low
    air = 0.06 * (high - low)
    low, high = (low if zero and low == 0 else low - air), high + air
    return Axis(low, high, _round_ticks(low, high, count))


_MULTIPLES: tuple[tuple[float, tuple[float, ...]], ...] = (
    (12, (1, 2, 3, 4, 5, 6, 8)),
    (300, (1, 2, 5)),
    (math.inf, (1,)),
)


def log_axis(values: Sequence[float]) -> Axis:
    """A logarithmic axis; all values must be above 0.

    Ticks are powers of ten, with more of their multiples on a shorter axis. On one that covers less
    than a factor of four they are equally far apart in value, as on a linear axis.
    """
    low, high = min(values), max(values)
    air = max((high / low) ** 0.07, 1.02)
    low, high = low / air, high * air
    if high / low < 4:
        return Axis(low, high, _round_ticks(low, high, 6), log=True)
    multiples = next(found for ratio, found in _MULTIPLES if high / low < ratio)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = max(1, round(len(powers) / 8))
    ticks = [m * 10.0**power for power in powers if power % every == 0 for m in multiples]
    return Axis(low, high, tuple(tick for tick in ticks if low <= tick <= high), log=True)


def tick_text(value: float) -> str:
    """A tick's label in as few characters as say it: 0.25, 1,500, 2e-4."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e6 or size < 1e-3:
        mantissa, _, power = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(power)}"
    return f"{value:,.0f}" if size >= 1000 else f"{value:g}"


def _round_ticks(low: float, high: float, count: int) -> tuple[float, ...]:
    step = _round_step((high - low) / count)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    # Rounded to the step's own digits: 0.3, not 0.30000000000000004.
    digits = -math.floor(math.log10(step))
    return tuple(round(n * step, digits) for n in range(first, last + 1))


def _round_step(step: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next((m * power for m in (1, 2, 5) if step <= m * power * (1 + 1e-9)), 10 * power)
