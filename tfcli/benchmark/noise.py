"""Whether two sets of measurements differ by more than they differ among themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

LEVEL = 0.05
"""How likely a comparison of equal programs may be to raise any alarm, over all its rows."""


def chance_of(before: Sequence[float], after: Sequence[float]) -> float:
    """How likely chance alone makes `after` so much larger than `before`, or more.

    The exact one-sided rank test of Wilcoxon, Mann and Whitney: the share of all ways to deal the
    values out in which as many pairs have the later one larger. It asks nothing of how values are
    distributed, so one round that something else disturbed counts as one. Equal values count
    against a difference.
    """
    larger = sum(b > a for a in before for b in after)
    m, n = len(before), len(after)
    ways = sum(_ways(m, n, pairs) for pairs in range(larger, m * n + 1))
    return ways / math.comb(m + n, n)


def least_chance(before: int, after: int) -> float:
    """The least that `chance_of` can be for so many values: every later one is larger."""
    return 1 / math.comb(before + after, after)


def rounds_for(before: int, comparisons: int) -> int:
    """How many rounds can tell a difference, beside so many of the baseline and so many rows.

    Args:
        before: rounds of the baseline, at least 1.
        comparisons: rows that are compared; the level is divided among them (Bonferroni).
    """
    rounds = 1
    while least_chance(before, rounds) > LEVEL / comparisons:
        rounds += 1
    return rounds


@cache
def _ways(m: int, n: int, pairs: int) -> int:
    """In how many orders of m values and n others exactly so many pairs have the other larger."""
    if pairs < 0 or m < 0 or n < 0:
        return 0
    if m == 0 or n == 0:
        return int(pairs == 0)
    # The largest of all is one of the others, and then above all m; or it is not.
    return _ways(m, n - 1, pairs - m) + _ways(m - 1, n, pairs)
