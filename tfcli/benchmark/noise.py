"""Whether two sets of measurements differ by more than they differ among themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
    return sum(_ways(m, n)[larger:]) / math.comb(m + n, n)


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


def _ways(m: int, n: int) -> list[int]:
    """In how many orders of m values and n others 0, 1, ... m * n pairs have the other larger.

    They are the coefficients of Gauss's binomial, the product of (1 - q^(m + i)) / (1 - q^i) for i
    from 1 to n.
    """
    ways = [1] + [0] * (m * n)
    for i in range(1, n + 1):
        for pairs in range(m * n, m + i - 1, -1):
            ways[pairs] -= ways[pairs - m - i]
        for pairs in range(i, m * n + 1):
            ways[pairs] += ways[pairs - i]
    return ways
