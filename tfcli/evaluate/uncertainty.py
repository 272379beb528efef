"""How certain a figure is: standard errors and intervals over clusters of samples.

A mean's standard error is that of a ratio of sums over clusters (Cochran 1977, chapter 6; Miller
2024, "Adding error bars to evals"): samples of one cluster may all err alike, so it is clusters
that are counted. Where each sample is a cluster of its own it is the deviation over sqrt(n). Any
other figure is computed again on clusters drawn with replacement.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Hashable, Sequence
from statistics import NormalDist

from tfcli.evaluate.measure import Measure

DRAWS = 200
"""Of a bootstrap: its standard error is then known to about 5%."""
_SEED = 1234
_WIDTH = NormalDist().inv_cdf(0.975)


def mean_error(
    sums: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    weights: Sequence[float] | None = None,
) -> tuple[float, float | None]:
    """A mean and its standard error; None with fewer than two clusters.

    Args:
        sums: of each sample, over all that it counts; at least one.
        clusters: which cluster each is in; None as one: that sample is its own.
        weights: how much each sample counts, as its tokens in a mean over tokens; None: one each.
    """
    sizes = [1.0] * len(sums) if weights is None else list(weights)
    total = math.fsum(sizes)
    mean = math.fsum(sums) / total
    groups = _groups(len(sums), clusters)
    if len(groups) < 2:
        return mean, None
    off = [math.fsum(sums[i] - sizes[i] * mean for i in group) for group in groups]
    scale = len(groups) / (len(groups) - 1)
    return mean, math.sqrt(scale * math.fsum(each * each for each in off)) / total


def mean_measure(
    name: str,
    sums: Sequence[float],
    *,
    unit: str,
    higher_is_better: bool | None,
    clusters: Sequence[Hashable] | None = None,
    weights: Sequence[float] | None = None,
) -> Measure:
    """A mean over samples as a measure; see `mean_error`."""
    value, error = mean_error(sums, clusters, weights)
    return Measure(
        name=name,
        value=value,
        unit=unit,
        higher_is_better=higher_is_better,
        n=len(sums),
        standard_error=error,
        interval=interval_of(value, error),
    )


def interval_of(value: float, error: float | None) -> tuple[float, float] | None:
    """The 95% interval of a value whose errors are normal; None without an error."""
    return None if error is None else (value - _WIDTH * error, value + _WIDTH * error)


def exponential(name: str, mean: Measure, unit: str) -> Measure:
    """exp of a mean as a measure, such as a perplexity of a loss.

    Its interval is exp of the mean's, and its standard error follows from the mean's by the slope
    of exp. Infinite where no float holds it.
    """
    value, error = exp(mean.value), mean.standard_error
    return Measure(
        name=name,
        value=value,
        unit=unit,
        higher_is_better=mean.higher_is_better,
        n=mean.n,
        standard_error=None if error is None else value * error,
        interval=None if mean.interval is None else (exp(mean.interval[0]), exp(mean.interval[1])),
    )


def exp(value: float) -> float:
    """exp, infinite where no float holds it."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def drawn_measure(
    name: str,
    figure: Callable[[Sequence[int]], float],
    n: int,
    *,
    unit: str,
    higher_is_better: bool | None,
    clusters: Sequence[Hashable] | None = None,
) -> Measure:
    """A figure that is no mean, with the standard error and the percentiles of a bootstrap.

    Args:
        figure: from indices of samples, some of them several times, to the figure.
        n: samples.
        clusters: as of `mean_error`.
    """
    groups = _groups(n, clusters)
    found: list[float] = []
    if len(groups) > 1:
        chance = random.Random(_SEED)
        for _ in range(DRAWS):
            drawn = chance.choices(groups, k=len(groups))
            found.append(figure([index for group in drawn for index in group]))
        found = sorted(each for each in found if math.isfinite(each))
    error = None
    if len(found) > 1:
        middle = math.fsum(found) / len(found)
        error = math.sqrt(math.fsum((each - middle) ** 2 for each in found) / (len(found) - 1))
    return Measure(
        name=name,
        value=figure(range(n)),
        unit=unit,
        higher_is_better=higher_is_better,
        n=n,
        standard_error=error,
        interval=None if error is None else (_percentile(found, 0.025), _percentile(found, 0.975)),
    )


def _percentile(ordered: Sequence[float], share: float) -> float:
    at = share * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


def _groups(n: int, clusters: Sequence[Hashable] | None) -> list[list[int]]:
    """The indices of each cluster's samples."""
    if clusters is None:
        return [[index] for index in range(n)]
    groups: dict[Hashable, list[int]] = {}
    for index, cluster in enumerate(clusters):
        groups.setdefault((index, None) if cluster is None else (None, cluster), []).append(index)
    return list(groups.values())
