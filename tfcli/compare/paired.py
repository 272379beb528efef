"""The paired test of two lists of scores, and the smallest difference that it could show.

Samples that were made from one thing, such as the questions about one text, rise and fall together.
They are one unit: what is summed up, flipped and counted is a unit's sum of differences, and the
standard error is that of clusters (Liang and Zeger 1986; for evaluations Miller 2024, "Adding Error
Bars to Evals"). Without clusters each sample is a unit.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tfcli.compare.student import quantile, two_sided

FEW = 30
"""Where no more units than these differ, all their signs are tried; the t distribution, which is a
limit of many, calls four answers that turned wrong a difference (p 0.045) where it is none."""
POWER = 0.8
"""How often a difference of the smallest size that could be shown is shown."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Paired:
    """What the differences of paired scores say.

    Args:
        difference: the mean of B's scores minus A's.
        standard_error: of that mean; units are independent of each other.
        low: the lower end of the confidence interval.
        high: its upper end.
        p: how often two equal models would differ at least as much.
        test: how `p` was found: all signs of the units, or Student's t.
        samples: pairs of scores.
        units: what is independent: clusters, or samples.
        smallest: the smallest true difference that the same number of such samples would show in
            80% of the cases; None where the units are too few to show any.
        samples_needed: samples that would show the difference that was found in 80% of the cases;
            None without a difference, or where the units are too few to say.
    """

    difference: float
    standard_error: float
    low: float
    high: float
    p: float
    test: Literal["signs", "t"]
    samples: int
    units: int
    smallest: float | None
    samples_needed: int | None


def compare_pairs(
    differences: Sequence[float] | Floats,
    clusters: Sequence[Hashable] | None = None,
    alpha: float = 0.05,
    weights: Sequence[float] | None = None,
) -> Paired:
    """The test of paired differences.

    Args:
        differences: B's score minus A's of each sample, finite.
        clusters: of each sample what it was made from; None: it stands alone, as where there are
            none at all.
        alpha: the share of false alarms that is accepted, for the interval and `smallest`.
        weights: what each sample counts in the mean, as tokens in a mean over tokens; None: one
            each.

    Raises:
        ValueError: fewer than two units: one has no spread.
    """
    values = np.asarray(differences, dtype=np.float64)
    counted = np.ones_like(values) if weights is None else np.asarray(weights, dtype=np.float64)
    sums, sizes = _units(values * counted, counted, clusters)
    units, samples, total = len(sums), len(values), float(counted.sum())
    if units < 2:
        raise ValueError("a paired test needs two units or more")
    mean = float(sums.sum()) / total
    # The spread of the units around what their sizes let expect.
    off = sums - sizes * mean
    error = math.sqrt(units / (units - 1) * float(off @ off)) / total
    freedom = units - 1
    reach = quantile(1 - alpha / 2, freedom) * error
    moved = sums[sums != 0]
    few = len(moved) <= FEW
    smallest = None
    # With k units the most extreme signs have a chance of 2 / 2^k: too few can never show anything.
    if 2.0 ** (1 - units) <= alpha:
        smallest = (quantile(1 - alpha / 2, freedom) + quantile(POWER, freedom)) * error
    needed = None
    if smallest is not None and mean != 0:
        needed = math.ceil(samples * (smallest / mean) ** 2)
    return Paired(
        difference=mean,
        standard_error=error,
        low=mean - reach,
        high=mean + reach,
        p=_all_signs(moved) if few else two_sided(_ratio(mean, error), freedom),
        test="signs" if few else "t",
        samples=samples,
        units=units,
        smallest=smallest,
        samples_needed=needed,
    )


def holm(chances: Sequence[float]) -> list[float]:
    """The chances of several tests, raised so that one false alarm among all is as rare as one of a
    single test (Holm 1979)."""
    raised, highest = [0.0] * len(chances), 0.0
    for rank, place in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        highest = max(highest, min(1.0, chances[place] * (len(chances) - rank)))
        raised[place] = highest
    return raised


def _units(
    values: Floats, weights: Floats, clusters: Sequence[Hashable] | None
) -> tuple[Floats, Floats]:
    """The sum of each unit's differences, and what it weighs."""
    if clusters is None:
        return values, weights
    numbers: dict[Hashable, int] = {}
    names = [(None, row) if name is None else (name, 0) for row, name in enumerate(clusters)]
    place = np.array([numbers.setdefault(each, len(numbers)) for each in names], dtype=np.int64)
    sums, sizes = np.zeros(len(numbers)), np.zeros(len(numbers))
    np.add.at(sums, place, values)
    np.add.at(sizes, place, weights)
    return sums, sizes


def _all_signs(sums: Floats) -> float:
    """Of all ways to give the units signs, the share whose sum is at least as far from 0.

    Half of the units at a time: 2^15 sums each, of which pairs are counted in order.
    """
    total = abs(float(sums.sum()))
    # Sums that are equal but for rounding are equal.
    threshold = total - 1e-9 * float(np.abs(sums).sum())
    if threshold <= 0:
        return 1.0
    half = len(sums) // 2
    one, other = _signed_sums(sums[:half]), np.sort(_signed_sums(sums[half:]))
    above = len(other) - np.searchsorted(other, threshold - one, side="left")
    return min(1.0, 2 * float(above.sum()) / 2.0 ** len(sums))


def _signed_sums(sums: Floats) -> Floats:
    found = np.zeros(1)
    for each in sums:
        found = np.concatenate([found + each, found - each])
    return found


def _ratio(mean: float, error: float) -> float:
    return mean / error if error else math.copysign(math.inf, mean)
