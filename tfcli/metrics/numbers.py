"""Metrics of numbers that are to be hit. A correlation of equal numbers is not a number, nor is the
share of a variance that is none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def figures(
    names: Sequence[str], predictions: Sequence[float], references: Sequence[float]
) -> Mapping[str, float]:
    """Mean squared and absolute errors, correlations of values and of their ranks, and the share of
    the variance that is explained (r2)."""
    said, right = np.asarray(predictions, float), np.asarray(references, float)
    return {name: _figure(name, said, right) for name in names}


def _figure(name: str, said: np.ndarray, right: np.ndarray) -> float:
    from scipy import stats
    from sklearn import metrics

    if name in ("mse", "mae"):
        squared = name == "mse"
        of: Any = metrics.mean_squared_error if squared else metrics.mean_absolute_error
        return float(of(right, said))
    if name == "r2":
        return math.nan if np.ptp(right) == 0 else float(metrics.r2_score(right, said))
    if len(said) < 2 or np.ptp(said) == 0 or np.ptp(right) == 0:
        return math.nan
    found: Any = (stats.pearsonr if name == "pearson" else stats.spearmanr)(said, right)
    return float(found.statistic)
