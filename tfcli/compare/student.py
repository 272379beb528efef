"""Student's t distribution, without a library: scipy is no dependency of tfcli.

Its tail is a regularized incomplete beta function, which is summed as the continued fraction of
DLMF 8.17.22 by Lentz's method.
"""

from __future__ import annotations

import math
from functools import lru_cache

_TINY = 1e-300
_TERMS = 500


def two_sided(t: float, freedom: float) -> float:
    """The chance of a value at least as far from 0 as `t`.

    Args:
        t: the value; infinite for a difference without any spread.
        freedom: degrees of freedom, above 0.
    """
    if math.isinf(t):
        return 0.0
    return _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


@lru_cache(maxsize=256)
def quantile(share: float, freedom: float) -> float:
    """The value below which `share` of the distribution lies.

    Args:
        share: from 0.5 on, below 1.
        freedom: degrees of freedom, above 0.
    """
    if not 0.5 <= share < 1:
        raise ValueError(f"share must be from 0.5 on and below 1, not {share}")
    low, high = 0.0, 1.0
    while 1 - two_sided(high, freedom) / 2 < share:
        low, high = high, high * 2
    for _ in range(80):
        middle = (low + high) / 2
        if 1 - two_sided(middle, freedom) / 2 < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularized incomplete beta function I_x(a, b)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side
        return 1 - _incomplete_beta(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    return front / (a * _fraction(a, b, x))


def _fraction(a: float, b: float, x: float) -> float:
    """1 + d1 / (1 + d2 / (1 + ...)), with the terms of DLMF 8.17.23."""
    value, above, below = 1.0, 1.0, 0.0
    for n in range(1, _TERMS):
        m = n // 2
        if n % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        below = 1 / _away_from_zero(1 + term * below)
        above = _away_from_zero(1 + term / above)
        value *= above * below
        if abs(above * below - 1) < 1e-15:
            break
    return value


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
