"""How long a run is and how often it does something: in steps, epochs, minutes or shares of it.

Imports no torch: recipes are checked with it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator

from tfcli.recipe.marks import Placeholder

Unit = Literal["steps", "epochs", "minutes", "share"]

_WORDS = re.compile(r"(\d+(?:\.\d+)?)\s*(steps?|epochs?|minutes?|%)", re.ASCII)
_ALMOST = 1e-9
"""Three tenths of an epoch are three times a tenth, whatever rounding makes of it."""


@dataclass(frozen=True)
class Moment:
    """Where a run is.

    Args:
        step: finished steps.
        epochs: times that the data were seen.
        seconds: spent, alike in all processes.
        share: of the run, from 0 to 1.
    """

    step: int
    epochs: float
    seconds: float
    share: float


@dataclass(frozen=True)
class Every:
    """An interval: so many of a unit; 0 is never."""

    number: float
    unit: Unit

    def due(self, before: Moment, after: Moment) -> bool:
        """Whether a multiple of the interval lies between two moments, or at the second."""
        if not self.number:
            return False
        return self._passed(after) > self._passed(before)

    def _passed(self, moment: Moment) -> int:
        reached = {
            "steps": moment.step,
            "epochs": moment.epochs,
            "minutes": moment.seconds / 60,
            "share": moment.share,
        }[self.unit]
        return math.floor(reached / self.number + _ALMOST)


def every(value: int | str) -> Every:
    """What a recipe says of an interval: 100, "100 steps", "0.5 epochs", "10 minutes" or "5%".

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, int):
        number, word = float(value), "steps"
    else:
        found = _WORDS.fullmatch(value.strip())
        if found is None:
            raise ValueError(
                f"{value!r} is no interval: give steps (100), or a text such as '1 epoch', "
                "'0.5 epochs', '10 minutes' or '5%'"
            )
        number, word = float(found[1]), found[2]
    if word == "%":
        if number > 100:
            raise ValueError(f"{value!r} is more than the whole run")
        return Every(number / 100, "share")
    unit = {"s": "steps", "e": "epochs", "m": "minutes"}[word[0]]
    if number < 0 or (unit == "steps" and number != int(number)):
        raise ValueError(f"{value!r}: give a whole number of steps, 0 or more")
    return Every(number, unit)  # type: ignore[arg-type]


def _is_interval(value: int | str) -> int | str:
    """The number of steps where it is one, else the text."""
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    every(value)
    return value


Interval = Annotated[int | str, AfterValidator(_is_interval), Placeholder("INTERVAL")]
"""What `every` takes."""


@dataclass(frozen=True)
class Length:
    """How long a run is: the first of two ends that comes.

    Args:
        steps: at most; None where time alone ends it.
        seconds: at most; None where steps alone end it.
    """

    steps: int | None
    seconds: float | None = None

    def share(self, step: int, seconds: float, skipped: int = 0) -> float:
        """How much of the run is over after `step` steps and so much time, from 0 to 1.

        Args:
            skipped: steps that do not count, as those of a warm-up; their time is as long as that
                of other steps.
        """
        shares = [0.0]
        if self.steps is not None:
            shares.append((step - skipped) / max(1, self.steps - skipped))
        if self.seconds is not None:
            before = seconds * skipped / step if step else 0.0
            shares.append((seconds - before) / max(1e-9, self.seconds - before))
        return min(1.0, max(shares))

    def over(self, step: int, seconds: float) -> bool:
        """Whether nothing is left of it."""
        return self.share(step, seconds) >= 1
